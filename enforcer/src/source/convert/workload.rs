//! Pods that a workload would start.

use k8s_openapi::api::core::v1::PodTemplateSpec;

use super::{Converted, labels, pod};
use enforcer_core::model::{self, PodId};

/// The pod `name` that a workload of `namespace` would start from a template: without a node,
/// addresses or a uid. Problem paths start at the template; [`Converted::under`] completes them.
#[must_use]
pub fn pod_template(
    name: String,
    namespace: &str,
    template: &PodTemplateSpec,
) -> Converted<model::Pod> {
    let mut problems = Vec::new();
    let spec = template.spec.as_ref();
    let own = template.metadata.as_ref().and_then(|it| it.labels.clone()).unwrap_or_default();
    labels::check(&own, "metadata.labels", &mut problems);
    let value = model::Pod {
        id: PodId::new(namespace, name),
        uid: model::Uid::default(),
        labels: own.into_iter().collect(),
        node: None,
        addresses: model::SharedSet::new(),
        host_network: pod::host_network(spec),
        finished: false,
        terminating: false,
        ports: spec.map(|it| pod::ports(it, &mut problems).into()).unwrap_or_default(),
    };
    Converted::new(value, problems)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn takes_labels_ports_and_network() {
        let template = json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"hostNetwork": true, "containers": [
                {"name": "x", "ports": [{"name": "http", "containerPort": 80}]},
            ]},
        });
        let template = serde_json::from_value(template).unwrap();
        let pod = pod_template("web-0".into(), "n", &template).value.unwrap();
        assert_eq!(pod.id, PodId::new("n", "web-0"));
        assert_eq!(pod.labels["app"], "web");
        assert_eq!(pod.ports.first().unwrap().port, 80);
        assert!(pod.host_network && pod.addresses.is_empty());
    }

    #[test]
    fn problems_are_placed_by_the_caller() {
        let template = json!({"spec": {"containers": [{"name": "x", "ports": [
            {"containerPort": 70000},
        ]}]}});
        let template = serde_json::from_value(template).unwrap();
        let converted = pod_template("web-0".into(), "n", &template).under("spec.template");
        assert_eq!(converted.value, None);
        assert_eq!(
            converted.problems[0].path,
            "spec.template.spec.containers[0].ports[0].containerPort"
        );
    }
}
