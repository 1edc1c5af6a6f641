//! Pods.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Converted, Problem, field, labels, port};
use enforcer_core::model::{self, ContainerPort, PodId};

/// The annotation of a mirror pod: the UID that the kubelet gave the static pod behind it, which the
/// container runtime knows it by (`kubelet/types`, `ConfigMirrorAnnotationKey`).
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// The UID by which the container runtime knows the pod.
fn uid(meta: &ObjectMeta) -> String {
    let mirrored = meta.annotations.as_ref().and_then(|it| it.get(MIRROR));
    mirrored.or(meta.uid.as_ref()).cloned().unwrap_or_default()
}

/// A pod, with the fields that policy needs.
#[must_use]
pub fn pod(object: &Pod) -> Converted<model::Pod> {
    let (value, problems) = read(object);
    Converted::new(value, problems)
}

/// What can be read of a pod that has errors: its labels as they are, whatever their syntax, and without ports
/// and addresses that can't be read. `None` without a name, or if it has addresses and none can be read: a pod
/// without addresses is no subject (semantics S1).
#[must_use]
pub fn readable_pod(object: &Pod) -> Option<model::Pod> {
    let pod = read(object).0;
    let has_address = |it: &PodStatus| {
        it.pod_ips.as_ref().is_some_and(|it| !it.is_empty())
            || it.pod_ip.as_ref().is_some_and(|it| !it.is_empty())
    };
    let is_closed = pod.addresses.is_empty() && object.status.as_ref().is_some_and(has_address);
    (!pod.id.name.is_empty() && !is_closed).then_some(pod)
}

fn read(object: &Pod) -> (model::Pod, Vec<Problem>) {
    let mut problems = Vec::new();
    let meta = &object.metadata;
    let id = PodId::new(field::namespace(meta), field::name(meta, &mut problems));
    let own = meta.labels.clone().unwrap_or_default();
    labels::check(&own, "metadata.labels", &mut problems);
    let spec = object.spec.as_ref();
    let status = object.status.as_ref();
    let phase = status.and_then(|it| it.phase.as_deref());
    let value = model::Pod {
        id,
        uid: uid(meta).into(),
        labels: own.into_iter().collect(),
        node: spec
            .and_then(|it| it.node_name.as_deref())
            .filter(|it| !it.is_empty())
            .map(Into::into),
        addresses: status.map(|it| addresses(it, &mut problems).into()).unwrap_or_default(),
        host_network: host_network(spec),
        finished: matches!(phase, Some("Succeeded" | "Failed")),
        terminating: meta.deletion_timestamp.is_some(),
        ports: spec.map(|it| ports(it, &mut problems).into()).unwrap_or_default(),
    };
    (value, problems)
}

/// Whether pods of this spec use the node's network (semantics S1).
pub(super) fn host_network(spec: Option<&PodSpec>) -> bool {
    spec.and_then(|it| it.host_network).unwrap_or(false)
}

/// `podIPs` and `podIP`: older sources fill only the latter.
fn addresses(status: &PodStatus, problems: &mut Vec<Problem>) -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    for (index, it) in status.pod_ips.iter().flatten().enumerate() {
        field::address(&it.ip, &format!("status.podIPs[{index}].ip"), &mut found, problems);
    }
    if let Some(text) = status.pod_ip.as_deref().filter(|it| !it.is_empty()) {
        field::address(text, "status.podIP", &mut found, problems);
    }
    found
}

/// Named ports of containers and sidecars (semantics R7).
pub(super) fn ports(spec: &PodSpec, problems: &mut Vec<Problem>) -> BTreeSet<ContainerPort> {
    let mut found = BTreeSet::new();
    for (index, it) in spec.containers.iter().enumerate() {
        container(it, &format!("spec.containers[{index}]"), &mut found, problems);
    }
    for (index, it) in spec.init_containers.iter().flatten().enumerate() {
        // A sidecar is an init container that keeps running; others end before the pod serves.
        if it.restart_policy.as_deref() == Some("Always") {
            container(it, &format!("spec.initContainers[{index}]"), &mut found, problems);
        }
    }
    found
}

fn container(
    object: &Container,
    path: &str,
    into: &mut BTreeSet<ContainerPort>,
    problems: &mut Vec<Problem>,
) {
    for (index, it) in object.ports.iter().flatten().enumerate() {
        let path = format!("{path}.ports[{index}]");
        let protocol = port::protocol(it.protocol.as_deref(), &path, problems);
        let number = port::number(it.container_port, &format!("{path}.containerPort"), problems);
        // Ports without a name are kept, although no policy can name them: the pod serves them.
        let name = it.name.clone().unwrap_or_default();
        into.extend(protocol.zip(number).map(|(protocol, port)| ContainerPort {
            name,
            protocol,
            port,
        }));
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals read best as plain arguments")]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use enforcer_core::model::Protocol;

    fn convert(spec: Value, status: Value) -> Converted<model::Pod> {
        let metadata = json!({"name": "a", "namespace": "n", "uid": "u", "labels": {"l": "v"}});
        let object = json!({"metadata": metadata, "spec": spec, "status": status});
        pod(&serde_json::from_value(object).unwrap())
    }

    fn good(spec: Value, status: Value) -> model::Pod {
        convert(spec, status).good()
    }

    #[test]
    fn plain_fields() {
        let pod = good(
            json!({"containers": [], "nodeName": "one"}),
            json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}),
        );
        assert_eq!(pod.id, PodId::new("n", "a"));
        assert_eq!((pod.uid.to_string().as_str(), pod.node.as_deref()), ("u", Some("one")));
        assert_eq!(pod.labels["l"], "v");
        let expected = ["10.0.0.1", "fd00::1"].map(|it| it.parse().unwrap());
        assert_eq!(pod.addresses, expected.into_iter().collect());
        assert!(!pod.host_network && !pod.finished);
    }

    /// The kubelet gives the runtime the UID of the static pod, not of its mirror.
    #[test]
    fn s6_a_mirror_pod_has_the_uid_of_its_static_pod() {
        let metadata = json!({"name": "a", "namespace": "n", "uid": "u",
            "annotations": {"kubernetes.io/config.mirror": "static"}});
        let mirror: Pod = serde_json::from_value(json!({"metadata": metadata})).unwrap();
        assert_eq!(pod(&mirror).good().uid, "static");
    }

    #[test]
    fn pod_ip_alone_counts_and_absence_is_fine() {
        let pod = good(json!({"containers": []}), json!({"podIP": "10.0.0.1"}));
        assert_eq!(pod.addresses.len(), 1);
        let pod = good(json!({"containers": []}), json!({"podIP": ""}));
        assert_eq!((pod.addresses.len(), pod.node), (0, None));
    }

    #[test]
    fn s1_host_network_and_finished() {
        assert!(good(json!({"containers": [], "hostNetwork": true}), json!({})).host_network);
        for (phase, finished) in
            [("Succeeded", true), ("Failed", true), ("Running", false), ("Pending", false)]
        {
            let pod = good(json!({"containers": []}), json!({"phase": phase}));
            assert_eq!(pod.finished, finished, "{phase}");
        }
    }

    #[test]
    fn s1_a_pod_that_is_being_deleted_is_still_a_peer() {
        let object =
            json!({"metadata": {"name": "a", "deletionTimestamp": "2026-11-23T10:00:00Z"}});
        let pod = pod(&serde_json::from_value(object).unwrap()).value.unwrap();
        assert!(pod.terminating && pod.is_peer());
        assert!(!good(json!({"containers": []}), json!({})).terminating);
    }

    #[test]
    fn r7_named_ports_of_containers_and_sidecars() {
        let ports = |name: &str| json!([{"name": name, "containerPort": 80}]);
        let pod = good(
            json!({
                "containers": [
                    {"name": "x", "ports": ports("http")},
                    {"name": "y", "ports": [
                        {"name": "dns", "containerPort": 53, "protocol": "UDP"},
                        {"containerPort": 9}
                    ]},
                ],
                "initContainers": [
                    {"name": "s", "restartPolicy": "Always", "ports": ports("side")},
                    {"name": "i", "ports": ports("init")},
                ],
            }),
            json!({}),
        );
        let port = |name: &str, protocol, port| ContainerPort { name: name.into(), protocol, port };
        let expected = [
            port("http", Protocol::Tcp, 80),
            port("dns", Protocol::Udp, 53),
            port("side", Protocol::Tcp, 80),
            port("", Protocol::Tcp, 9),
        ];
        assert_eq!(pod.ports, expected.into_iter().collect());
    }

    #[test]
    fn bad_fields() {
        let converted = convert(
            json!({"containers": [{"name": "x", "ports": [
                {"name": "a", "containerPort": 0}, {"containerPort": 1, "protocol": "udp"},
            ]}]}),
            json!({"podIP": "x", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.256"}]}),
        );
        assert_eq!(converted.value, None);
        assert_eq!(
            converted.paths(),
            [
                "status.podIPs[1].ip",
                "status.podIP",
                "spec.containers[0].ports[0].containerPort",
                "spec.containers[0].ports[1].protocol",
            ]
        );
        assert_eq!(pod(&Pod::default()).problems[0].path, "metadata.name");
    }
}
