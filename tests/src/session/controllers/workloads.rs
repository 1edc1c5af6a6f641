//! Deployments, replica sets and daemon sets.
//!
//! Status fields as `kubectl rollout status` reads them (kubernetes/kubernetes
//! `staging/src/k8s.io/kubectl/pkg/polymorphichelpers/rollout_status.go`); names, labels and annotations as the
//! deployment controller's (`pkg/controller/deployment/sync.go`, `util/deployment_util.go`). A change of a template
//! replaces all pods at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{is_ending, is_owned_by, is_ready, key_of, owner, owner_uid, pods_of, suffix, text};
use crate::api::{Key, Kind, Refusal, Store, kinds};

const HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";

/// Creates and removes replica sets and pods.
pub(super) fn run(store: &Store) -> Result<(), Refusal> {
    collect(store);
    for deployment in store.all(&kinds::DEPLOYMENTS).iter().filter(|it| !is_ending(it)) {
        replica_sets(store, deployment)?;
    }
    for set in store.all(&kinds::REPLICA_SETS).iter().filter(|it| !is_ending(it)) {
        let wanted = set["spec"]["replicas"].as_u64().unwrap_or(0);
        replicas(store, set, usize::try_from(wanted).unwrap_or(0))?;
    }
    for set in store.all(&kinds::DAEMON_SETS).iter().filter(|it| !is_ending(it)) {
        one_for_each_node(store, set)?;
    }
    Ok(())
}

/// Removes the objects whose owner is gone.
fn collect(store: &Store) {
    let kinds: [&'static Kind; 3] =
        [&kinds::DEPLOYMENTS, &kinds::REPLICA_SETS, &kinds::DAEMON_SETS];
    let uids = || -> BTreeSet<String> {
        let all = kinds.iter().flat_map(|kind| store.all(kind));
        all.map(|it| text(&it, "/metadata/uid").to_owned()).collect()
    };
    let owners = uids();
    let is_orphan = |it: &Value, owners: &BTreeSet<String>| {
        owner_uid(it).is_some_and(|uid| !owners.contains(uid))
    };
    for set in store.all(&kinds::REPLICA_SETS).iter().filter(|it| is_orphan(it, &owners)) {
        store.remove(&kinds::REPLICA_SETS, &key_of(set));
    }
    let owners = uids();
    for pod in store.all(&kinds::PODS).iter().filter(|it| is_orphan(it, &owners)) {
        store.end_pod(&key_of(pod));
    }
}

/// The hash of a template. Missing and empty fields are the same: clients write either.
fn hash(template: &Value) -> String {
    fn essence(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let fields = map.iter().map(|(key, value)| (key.clone(), essence(value)));
                Value::Object(fields.filter(|(_, value)| !is_empty(value)).collect())
            }
            Value::Array(items) => items.iter().map(essence).collect(),
            other => other.clone(),
        }
    }
    fn is_empty(value: &Value) -> bool {
        value.is_null()
            || value.as_object().is_some_and(serde_json::Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty)
    }
    suffix(&essence(template).to_string(), 10)
}

fn owned(store: &Store, kind: &Kind, owner: &Value) -> Vec<Arc<Value>> {
    store.all(kind).into_iter().filter(|it| is_owned_by(it, owner)).collect()
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["annotations"][REVISION].as_str().and_then(|it| it.parse().ok()).unwrap_or(0)
}

fn replica_sets(store: &Store, deployment: &Value) -> Result<(), Refusal> {
    if deployment["spec"]["paused"] == true {
        return Ok(());
    }
    let template = &deployment["spec"]["template"];
    let hash = hash(template);
    let key = key_of(deployment);
    let name = format!("{}-{hash}", key.name);
    let sets = owned(store, &kinds::REPLICA_SETS, deployment);
    let newest = sets.iter().map(|it| revision(it)).max().unwrap_or(0);
    let current = sets.iter().find(|it| text(it, "/metadata/name") == name);
    let number = match current.map(|it| revision(it)) {
        Some(own) if own == newest => own,
        _ => newest + 1,
    };
    let number = json!(number.to_string());
    let replicas = deployment["spec"]["replicas"].clone();
    if current.is_none() {
        let set = replica_set(deployment, &name, &hash);
        store.create(&kinds::REPLICA_SETS, &key.namespace, set)?;
    }
    store.edit(&kinds::REPLICA_SETS, &Key::new(key.namespace.as_str(), name.as_str()), |set| {
        set["spec"]["replicas"] = replicas.clone();
        set["metadata"]["annotations"][REVISION] = number.clone();
        set["metadata"]["annotations"]["deployment.kubernetes.io/desired-replicas"] =
            json!(replicas.to_string());
    });
    for other in sets.iter().filter(|it| text(it, "/metadata/name") != name) {
        store.edit(&kinds::REPLICA_SETS, &key_of(other), |set| set["spec"]["replicas"] = 0.into());
    }
    store.edit(&kinds::DEPLOYMENTS, &key, |it| it["metadata"]["annotations"][REVISION] = number);
    Ok(())
}

fn replica_set(deployment: &Value, name: &str, hash: &str) -> Value {
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"][HASH] = hash.into();
    let mut selector = deployment["spec"]["selector"].clone();
    selector["matchLabels"][HASH] = hash.into();
    json!({
        "metadata": {
            "name": name, "namespace": deployment["metadata"]["namespace"],
            "labels": template["metadata"]["labels"], "annotations": {},
            "ownerReferences": owner(&kinds::DEPLOYMENTS, deployment),
        },
        "spec": { "replicas": 0, "selector": selector, "template": template },
    })
}

/// The nodes' names.
fn nodes(store: &Store) -> Vec<String> {
    store.all(&kinds::NODES).iter().map(|it| key_of(it).name).collect()
}

fn replicas(store: &Store, set: &Value, wanted: usize) -> Result<(), Refusal> {
    let pods = owned(store, &kinds::PODS, set);
    let alive: Vec<_> = pods.iter().filter(|it| !is_ending(it)).collect();
    for pod in alive.iter().skip(wanted) {
        store.end_pod(&key_of(pod));
    }
    let nodes = nodes(store);
    for number in alive.len()..wanted {
        let node = nodes.get(number % nodes.len().max(1)).map(String::as_str);
        new_pod(store, &kinds::REPLICA_SETS, set, node)?;
    }
    Ok(())
}

fn one_for_each_node(store: &Store, set: &Value) -> Result<(), Refusal> {
    let pods = owned(store, &kinds::PODS, set);
    let hash = hash(&set["spec"]["template"]);
    let is_current = |it: &Value| it["metadata"]["labels"]["controller-revision-hash"] == *hash;
    for pod in pods.iter().filter(|it| !is_ending(it) && !is_current(it)) {
        store.end_pod(&key_of(pod));
    }
    for node in nodes(store) {
        let is_here = |it: &&Arc<Value>| text(it, "/spec/nodeName") == node;
        if !pods.iter().filter(is_here).any(|it| !is_ending(it) && is_current(it)) {
            new_pod(store, &kinds::DAEMON_SETS, set, Some(&node))?;
        }
    }
    Ok(())
}

fn new_pod(
    store: &Store,
    kind: &'static Kind,
    set: &Value,
    node: Option<&str>,
) -> Result<(), Refusal> {
    let key = key_of(set);
    let mut pod = set["spec"]["template"].clone();
    let taken: BTreeSet<String> =
        pods_of(store, &key.namespace).iter().map(|it| key_of(it).name).collect();
    let names = (store.version()..)
        .map(|number| format!("{}-{}", key.name, suffix(&format!("{}{number}", key.name), 5)));
    let Some(name) = names.into_iter().find(|it| !taken.contains(it)) else { return Ok(()) };
    pod["metadata"]["name"] = name.into();
    pod["metadata"]["namespace"] = key.namespace.as_str().into();
    pod["metadata"]["ownerReferences"] = owner(kind, set);
    if kind == &kinds::DAEMON_SETS {
        let hash = hash(&set["spec"]["template"]);
        pod["metadata"]["labels"]["controller-revision-hash"] = hash.into();
    }
    if let Some(node) = node
        && pod["spec"]["nodeName"].is_null()
    {
        pod["spec"]["nodeName"] = node.into();
    }
    store.create(&kinds::PODS, &key.namespace, pod).map(|_| ())
}

/// Writes the workloads' status.
pub(super) fn report(store: &Store) {
    for set in store.all(&kinds::REPLICA_SETS) {
        let pods = owned(store, &kinds::PODS, &set);
        let alive = pods.iter().filter(|it| !is_ending(it)).count();
        let ready = pods.iter().filter(|it| !is_ending(it) && is_ready(it)).count();
        let status = json!({
            "replicas": alive, "fullyLabeledReplicas": alive, "readyReplicas": ready,
            "availableReplicas": ready, "observedGeneration": set["metadata"]["generation"],
        });
        store.edit(&kinds::REPLICA_SETS, &key_of(&set), |it| it["status"] = status);
    }
    for deployment in store.all(&kinds::DEPLOYMENTS) {
        let status = deployment_status(store, &deployment);
        store.edit(&kinds::DEPLOYMENTS, &key_of(&deployment), |it| it["status"] = status);
    }
    for set in store.all(&kinds::DAEMON_SETS) {
        let pods = owned(store, &kinds::PODS, &set);
        let alive = pods.iter().filter(|it| !is_ending(it)).count();
        let ready = pods.iter().filter(|it| !is_ending(it) && is_ready(it)).count();
        let status = json!({
            "desiredNumberScheduled": nodes(store).len(), "currentNumberScheduled": alive,
            "updatedNumberScheduled": alive, "numberReady": ready, "numberAvailable": ready,
            "numberMisscheduled": 0, "observedGeneration": set["metadata"]["generation"],
        });
        store.edit(&kinds::DAEMON_SETS, &key_of(&set), |it| it["status"] = status);
    }
}

fn deployment_status(store: &Store, deployment: &Value) -> Value {
    let sets = owned(store, &kinds::REPLICA_SETS, deployment);
    let count = |set: &Value, field: &str| set["status"][field].as_u64().unwrap_or(0);
    let sum = |field: &str| sets.iter().map(|it| count(it, field)).sum::<u64>();
    let current = sets.iter().find(|it| revision(it) == revision(deployment));
    let updated = current.map_or(0, |it| count(it, "replicas"));
    let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or(0);
    let available = sum("availableReplicas");
    let since = deployment["metadata"]["creationTimestamp"].clone();
    let condition = |kind: &str, good: bool, reason: &str, message: String| {
        json!({
            "type": kind, "status": if good { "True" } else { "False" }, "reason": reason,
            "message": message, "lastUpdateTime": since, "lastTransitionTime": since,
        })
    };
    let name = current.map(|it| key_of(it).name).unwrap_or_default();
    let is_available = available >= wanted;
    let conditions = [
        if is_available {
            let message = "Deployment has minimum availability.".to_owned();
            condition("Available", true, "MinimumReplicasAvailable", message)
        } else {
            let message = "Deployment does not have minimum availability.".to_owned();
            condition("Available", false, "MinimumReplicasUnavailable", message)
        },
        if is_available && updated == wanted {
            let message = format!("ReplicaSet \"{name}\" has successfully progressed.");
            condition("Progressing", true, "NewReplicaSetAvailable", message)
        } else {
            let message = format!("ReplicaSet \"{name}\" is progressing.");
            condition("Progressing", true, "ReplicaSetUpdated", message)
        },
    ];
    json!({
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": sum("replicas"), "updatedReplicas": updated,
        "readyReplicas": sum("readyReplicas"), "availableReplicas": available,
        "unavailableReplicas": wanted.saturating_sub(available), "conditions": conditions,
    })
}
