//! Deletions before a question is answered.

use enforcer_core::explain::Workloads;
use enforcer_core::model::{Change, Cluster, PodId, PolicyId, ServiceId};

use super::end::{End, EndError, find, hint, is_kind};

/// Deletes an object from a cluster: `KIND/NAMESPACE/NAME` or `ns/NAME`. A namespace takes its objects with it,
/// a workload its pods.
///
/// # Errors
/// There is no such object, or the text names none.
pub(super) fn remove(
    cluster: &mut Cluster,
    workloads: &Workloads,
    text: &str,
) -> Result<(), EndError> {
    let parts: Vec<&str> = text.split('/').collect();
    let wrong = || EndError::Deletion(text.to_owned());
    if parts.iter().any(|it| it.is_empty()) {
        return Err(wrong());
    }
    match parts.as_slice() {
        ["ns" | "namespace" | "namespaces", name] => namespace(cluster, name),
        ["ns" | "namespace" | "namespaces", ..] => Err(wrong()),
        ["netpol" | "networkpolicy" | "networkpolicies", namespace, name] => {
            policy(cluster, namespace, name)
        }
        [kind, namespace, name] if is_kind(kind) => {
            let end = find(cluster, workloads, namespace, &format!("{kind}/{name}"))?;
            let changes = match end {
                End::Pods(pods) => pods.into_iter().map(Change::PodGone).collect(),
                End::Service(id) => vec![Change::ServiceGone(id)],
                End::Node | End::Outside | End::Address(_) => return Err(wrong()),
            };
            for change in changes {
                cluster.apply(change);
            }
            Ok(())
        }
        _ => Err(wrong()),
    }
}

fn policy(cluster: &mut Cluster, namespace: &str, name: &str) -> Result<(), EndError> {
    let id = PolicyId::new(namespace, name);
    if cluster.apply(Change::PolicyGone(id)) {
        return Ok(());
    }
    let here = cluster.policies.keys().filter(|it| it.namespace == namespace);
    Err(EndError::Missing {
        kind: "NetworkPolicy",
        name: format!("{namespace}/{name}"),
        hint: hint(name, here.map(|it| it.name.as_str())),
    })
}

fn namespace(cluster: &mut Cluster, name: &str) -> Result<(), EndError> {
    if !cluster.apply(Change::NamespaceGone(name.to_owned())) {
        let hint = hint(name, cluster.namespaces.keys().map(String::as_str));
        return Err(EndError::Missing { kind: "namespace", name: name.to_owned(), hint });
    }
    let pods: Vec<PodId> = cluster.pods.keys().filter(|it| it.namespace == name).cloned().collect();
    let policies = cluster.policies.keys().filter(|it| it.namespace == name).cloned();
    let policies: Vec<PolicyId> = policies.collect();
    let services = cluster.services.keys().filter(|it| it.namespace == name).cloned();
    let services: Vec<ServiceId> = services.collect();
    let gone = pods.into_iter().map(Change::PodGone);
    let gone = gone.chain(policies.into_iter().map(Change::PolicyGone));
    for change in gone.chain(services.into_iter().map(Change::ServiceGone)) {
        cluster.apply(change);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::source::manifests::Manifests;

    const MANIFESTS: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: web-5d9f-abcde, labels: {pod-template-hash: 5d9f}}
spec: {containers: [{name: main, image: main}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: db}
spec: {containers: [{name: main, image: main}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: db}
spec: {selector: {app: db}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: deny}
spec: {podSelector: {}}
";

    fn left(text: &str) -> Result<[usize; 4], String> {
        let (manifests, reports) = Manifests::of_text(Path::new("x.yaml"), MANIFESTS);
        assert!(reports.is_empty(), "{reports:?}");
        let mut cluster = manifests.cluster().clone();
        let removed = remove(&mut cluster, &Workloads::default(), text);
        removed.map_err(|error| error.to_string())?;
        let Cluster { namespaces, pods, services, policies, .. } = cluster;
        Ok([namespaces.len(), pods.len(), services.len(), policies.len()])
    }

    #[test]
    fn objects_are_deleted_by_kind_namespace_and_name() {
        assert_eq!(left("netpol/shop/deny"), Ok([1, 2, 1, 0]));
        assert_eq!(left("pod/shop/db"), Ok([1, 1, 1, 1]));
        assert_eq!(left("deploy/shop/web"), Ok([1, 1, 1, 1]));
        assert_eq!(left("svc/shop/db"), Ok([1, 2, 0, 1]));
        assert_eq!(left("ns/shop"), Ok([0, 0, 0, 0]), "with everything in it");
    }

    #[test]
    fn what_is_not_there_is_named() {
        for (text, expected) in [
            ("netpol/shop/deni", "there is no NetworkPolicy shop/deni; did you mean deny?"),
            ("ns/shob", "there is no namespace shob; did you mean shop?"),
            ("pod/shop/none", "there is no pod shop/none"),
            ("netpol/deny", "netpol/deny: expected KIND/NAMESPACE/NAME"),
            ("secret/shop/deny", "secret/shop/deny: expected KIND/NAMESPACE/NAME"),
            ("netpol//deny", "netpol//deny: expected KIND/NAMESPACE/NAME"),
        ] {
            let error = left(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
