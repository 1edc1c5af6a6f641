//! Workloads → the pods that they would start, named `<workload>-0` and so on.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde::Deserialize as _;
use serde_json::Value;

use super::object::Item;
use super::reader::{Document, Reader};
use crate::source::convert;

/// Pods that one workload may have; more is most likely a mistake.
const MOST_PODS: i64 = 5000;

/// The pods of a workload; `None` after an error.
pub(super) fn pods(
    reader: &mut Reader<'_>,
    document: &Document<'_>,
    kind: &str,
    json: &mut Value,
) -> Option<Vec<Item>> {
    match kind {
        "Deployment" => reader.typed::<Deployment>(document, kind, json).map(drop),
        "ReplicaSet" => reader.typed::<ReplicaSet>(document, kind, json).map(drop),
        "StatefulSet" => reader.typed::<StatefulSet>(document, kind, json).map(drop),
        "DaemonSet" => reader.typed::<DaemonSet>(document, kind, json).map(drop),
        "Job" => reader.typed::<Job>(document, kind, json).map(drop),
        _ => None,
    }?;
    // All of it fits its type from here on.
    let given = |field: &str| json.pointer(field).filter(|it| !it.is_null());
    let word = |field| given(field).and_then(Value::as_str).filter(|it| !it.is_empty());
    let Some(template) = given("/spec/template") else {
        reader.error(document, "spec", "missing field `template`", None);
        return None;
    };
    let template = PodTemplateSpec::deserialize(template).ok()?;
    let Some(name) = word("/metadata/name") else {
        reader.error(document, "metadata.name", "missing: an object needs a name", None);
        return None;
    };
    let field = match kind {
        "Job" if given("/spec/completions").is_some() => "completions",
        "Job" => "parallelism",
        _ => "replicas",
    };
    let count = given(&format!("/spec/{field}")).and_then(Value::as_i64).unwrap_or(1);
    if !(0..=MOST_PODS).contains(&count) {
        let message = format!("`{count}` is not in 0 to {MOST_PODS}");
        reader.error(document, &format!("spec.{field}"), &message, None);
        return None;
    }
    let namespace = word("/metadata/namespace").unwrap_or("default");
    // Checked even without replicas: problems of the template are the same for all.
    let first = convert::pod_template(format!("{name}-0"), namespace, &template);
    let first = reader.converted(document, first.under("spec.template"))?;
    let pod = |index| {
        let mut pod = first.clone();
        pod.id.name = format!("{name}-{index}").into();
        Item::Pod(pod)
    };
    Some((0..count).map(pod).collect())
}
