//! The types of the custom resources in `deploy/`: those of the Prometheus Operator, and of Azure's
//! managed Prometheus, which has the same types in another group.
#![expect(dead_code, reason = "the fields need only exist and have their type")]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

type Labels = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Object<S> {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: S,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
    namespace: String,
    labels: Labels,
    annotations: Option<Labels>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PodMonitor {
    selector: Selector,
    pod_metrics_endpoints: Vec<Endpoint>,
    label_limit: Option<u64>,
    label_name_length_limit: Option<u64>,
    label_value_length_limit: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ServiceMonitor {
    selector: Selector,
    endpoints: Vec<Endpoint>,
    label_limit: Option<u64>,
    label_name_length_limit: Option<u64>,
    label_value_length_limit: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Selector {
    match_labels: Labels,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Endpoint {
    port: String,
    path: String,
    interval: String,
    honor_labels: bool,
    relabelings: Vec<Relabeling>,
    metric_relabelings: Option<Vec<Relabeling>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Relabeling {
    source_labels: Option<Vec<String>>,
    target_label: Option<String>,
    regex: Option<String>,
    replacement: Option<String>,
    action: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PrometheusRule {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(rename = "for")]
    lasting: Option<String>,
    labels: Labels,
    annotations: Labels,
}

/// The problems of a custom resource.
pub(crate) fn problems(group: &str, kind: &str, object: &Value) -> Vec<String> {
    const OPERATOR: &str = "monitoring.coreos.com/v1";
    const AZURE: &str = "azmonitoring.coreos.com/v1";
    match (group, kind) {
        (OPERATOR | AZURE, "PodMonitor") => read::<PodMonitor>(object),
        (OPERATOR | AZURE, "ServiceMonitor") => read::<ServiceMonitor>(object),
        (OPERATOR, "PrometheusRule") => read::<PrometheusRule>(object),
        _ => vec![format!("{group} {kind}: no such kind")],
    }
}

fn read<S: DeserializeOwned>(object: &Value) -> Vec<String> {
    match Object::<S>::deserialize(object) {
        Ok(_) => Vec::new(),
        Err(error) => vec![error.to_string()],
    }
}
