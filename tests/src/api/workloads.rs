//! Defaults, validation and `scale` of workloads.
//!
//! As kubernetes/kubernetes `pkg/apis/apps/v1/defaults.go`, `pkg/apis/apps/validation/validation.go` and
//! `pkg/registry/apps/deployment/storage/storage.go`.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_core::model::{Requirement, Selector};
use serde_json::{Value, json};

use super::admission;
use super::kinds::Kind;
use super::names::Mistake;
use super::object::{self, default, object_at};
use super::status::Refusal;

/// Sets the defaults of a workload and of its template.
pub(super) fn fill_in(kind: &Kind, object: &mut Value) {
    let rolling = |surge: Value, away: Value| json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": surge, "maxUnavailable": away } });
    object_at(object, "spec");
    let Some(spec) = object.get_mut("spec") else { return };
    match kind.plural {
        "deployments" => {
            default(spec, "replicas", 1);
            default(spec, "strategy", rolling("25%".into(), "25%".into()));
            default(spec, "revisionHistoryLimit", 10);
            default(spec, "progressDeadlineSeconds", 600);
        }
        "replicasets" => default(spec, "replicas", 1),
        _ => {
            default(spec, "updateStrategy", rolling(0.into(), 1.into()));
            default(spec, "revisionHistoryLimit", 10);
        }
    }
    if let Some(template) = spec.get_mut("template") {
        admission::pod_spec(template);
    }
    default(object, "status", json!({}));
}

/// Checks selector and template.
pub(super) fn check(object: &Value, mistakes: &mut Vec<Mistake>) {
    let selector = selector(object);
    let labels = object::labels(&object["spec"]["template"]);
    if selector.requirements.is_empty() {
        let why = "Invalid value: empty selector is invalid for deployment".to_owned();
        mistakes.push(("spec.selector".to_owned(), why));
    } else if !selector.matches(&labels) {
        let why = format!(
            "Invalid value: {}: `selector` does not match template `labels`",
            json!(labels.iter().collect::<BTreeMap<_, _>>())
        );
        mistakes.push(("spec.template.metadata.labels".to_owned(), why));
    }
    admission::check_containers(object, "spec.template.spec", mistakes);
}

/// The selector of a workload.
fn selector(object: &Value) -> Selector {
    let selector = &object["spec"]["selector"];
    let pairs = selector["matchLabels"].as_object().into_iter().flatten();
    let mut requirements: BTreeSet<Requirement> = pairs
        .filter_map(|(key, value)| {
            Some(Requirement::In(key.clone(), [value.as_str()?.to_owned()].into()))
        })
        .collect();
    for it in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = object::text(it, "/key").to_owned();
        let values = it["values"].as_array().into_iter().flatten();
        let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
        requirements.insert(match object::text(it, "/operator") {
            "In" => Requirement::In(key, values),
            "NotIn" => Requirement::NotIn(key, values),
            "DoesNotExist" => Requirement::DoesNotExist(key),
            _ => Requirement::Exists(key),
        });
    }
    Selector { requirements: requirements.into() }
}

/// A workload's `scale`.
pub(super) fn scale(object: &Value) -> Value {
    let meta = &object["metadata"];
    let pairs = object["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten();
    let selector: Vec<String> =
        pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
            "creationTimestamp": meta["creationTimestamp"],
        },
        "spec": { "replicas": object["spec"]["replicas"] },
        "status": {
            "replicas": object["status"]["replicas"].as_u64().unwrap_or(0),
            "selector": selector.join(","),
        },
    })
}

/// The replicas that a `Scale` wants.
pub(super) fn wanted(scale: &Value) -> Result<u64, Refusal> {
    scale["spec"]["replicas"]
        .as_u64()
        .ok_or_else(|| Refusal::bad_request("spec.replicas: must be greater than or equal to 0"))
}
