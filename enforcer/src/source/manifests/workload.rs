//! Workloads → the pods that they would start, named `<workload>-0` and so on.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::document::{Document, Item, Reader};
use crate::source::convert;

/// Pods that one workload may have; more is most likely a slip.
const MOST_PODS: i32 = 5000;

/// What matters of a workload.
struct Workload {
    metadata: ObjectMeta,
    /// The field that gave the count.
    field: &'static str,
    count: i32,
    template: PodTemplateSpec,
}

/// The pods of a workload.
pub(super) fn pods(
    reader: &mut Reader<'_>,
    document: &Document<'_>,
    kind: &str,
    json: &Value,
) -> Vec<Item> {
    let Some(workload) = read(reader, document, kind, json) else { return Vec::new() };
    let Workload { metadata, field, count, template } = workload;
    let Some(name) = metadata.name.filter(|it| !it.is_empty()) else {
        reader.error(document, "metadata.name", "missing: an object needs a name", None);
        return Vec::new();
    };
    if !(0..=MOST_PODS).contains(&count) {
        let message = format!("`{count}` is not in 0 to {MOST_PODS}");
        reader.error(document, field, &message, None);
        return Vec::new();
    }
    let namespace =
        metadata.namespace.filter(|it| !it.is_empty()).unwrap_or_else(|| "default".to_owned());
    // Checked even without replicas: problems of the template are the same for all.
    let first = convert::pod_template(format!("{name}-0"), &namespace, &template);
    let Some(first) = reader.converted(document, first.under("spec.template")) else {
        return Vec::new();
    };
    let pod = |index| {
        let mut pod = first.clone();
        pod.id.name = format!("{name}-{index}");
        Item::Pod(pod)
    };
    (0..count).map(pod).collect()
}

fn read(
    reader: &mut Reader<'_>,
    document: &Document<'_>,
    kind: &str,
    json: &Value,
) -> Option<Workload> {
    let of = |metadata, field, count: Option<i32>, template| Workload {
        metadata,
        field,
        count: count.unwrap_or(1),
        template,
    };
    const REPLICAS: &str = "spec.replicas";
    let workload = match kind {
        "Deployment" => reader.typed::<Deployment>(document, kind, json).map(|it| {
            let spec = it.spec.unwrap_or_default();
            of(it.metadata, REPLICAS, spec.replicas, spec.template)
        }),
        "ReplicaSet" => reader.typed::<ReplicaSet>(document, kind, json).map(|it| {
            let spec = it.spec.unwrap_or_default();
            of(it.metadata, REPLICAS, spec.replicas, spec.template.unwrap_or_default())
        }),
        "StatefulSet" => reader.typed::<StatefulSet>(document, kind, json).map(|it| {
            let spec = it.spec.unwrap_or_default();
            of(it.metadata, REPLICAS, spec.replicas, spec.template)
        }),
        "DaemonSet" => reader.typed::<DaemonSet>(document, kind, json).map(|it| {
            let spec = it.spec.unwrap_or_default();
            of(it.metadata, "spec", None, spec.template)
        }),
        "Job" => reader.typed::<Job>(document, kind, json).map(|it| {
            let spec = it.spec.unwrap_or_default();
            match spec.completions {
                Some(count) => of(it.metadata, "spec.completions", Some(count), spec.template),
                None => of(it.metadata, "spec.parallelism", spec.parallelism, spec.template),
            }
        }),
        _ => None,
    }?;
    if json.pointer("/spec/template").is_none_or(Value::is_null) {
        reader.error(document, "spec", "missing field `template`", None);
        return None;
    }
    Some(workload)
}
