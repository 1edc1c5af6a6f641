//! Model → manifests, so that a generated cluster can be written, read and replayed.

use std::fmt::Write as _;

use serde_json::{Value, json};

use enforcer_core::model::{
    AUDIT_ANNOTATION, Block, Cluster, Namespace, Peer, Pod, Policy, PortRule, PortSpec,
    Requirement, Rule, Selector, Service, ServicePort, TargetPort, TrafficPolicy,
};

/// The cluster as one YAML stream of JSON documents, statuses included, which read back as the same
/// objects.
///
/// Manifests can't express the addresses of the node (they become a comment), a policy without a
/// type (it reads back as `Ingress`), and requirements of a service's selector other than
/// key-is-value. `enforcer::source::convert` never produces the latter two.
#[must_use]
pub fn manifests(cluster: &Cluster) -> String {
    let namespaces = cluster.namespaces.values().map(namespace);
    let pods = cluster.pods.values().map(pod);
    let policies = cluster.policies.values().map(policy);
    let services = cluster.services.values().map(service);
    let mut text = String::new();
    for address in &cluster.node_addresses {
        // Writing to a String can't fail.
        let _ = writeln!(text, "# node address {address}");
    }
    for document in namespaces.chain(pods).chain(policies).chain(services) {
        let _ = writeln!(text, "---\n{document:#}");
    }
    text
}

fn namespace(it: &Namespace) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": audited(json!({"name": it.name, "labels": it.labels}), it.audit),
    })
}

/// The metadata, with the annotation if the object is in audit.
fn audited(mut metadata: Value, audit: bool) -> Value {
    if audit {
        metadata["annotations"] = json!({AUDIT_ANNOTATION: "true"});
    }
    metadata
}

fn pod(it: &Pod) -> Value {
    let port = |it: &enforcer_core::model::ContainerPort| json!({"name": it.name, "protocol": it.protocol.name(), "containerPort": it.port});
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": it.id.name, "namespace": it.id.namespace, "labels": it.labels},
        "spec": {"containers": [{
            "name": "main",
            "image": "none",
            "ports": it.ports.iter().map(port).collect::<Vec<_>>(),
        }]},
        "status": {"phase": if it.finished { "Succeeded" } else { "Running" }},
    });
    if !it.uid.is_empty() {
        object["metadata"]["uid"] = json!(it.uid.to_string());
    }
    if it.terminating {
        // The model does not have the time.
        object["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:00Z");
    }
    if let Some(node) = &it.node {
        object["spec"]["nodeName"] = json!(node);
    }
    if it.host_network {
        object["spec"]["hostNetwork"] = json!(true);
    }
    if let Some(first) = it.addresses.first() {
        let all: Vec<_> = it.addresses.iter().map(|ip| json!({"ip": ip})).collect();
        object["status"]["podIP"] = json!(first);
        object["status"]["podIPs"] = json!(all);
    }
    object
}

fn policy(it: &Policy) -> Value {
    let mut spec = json!({"podSelector": selector(&it.subjects), "policyTypes": []});
    let mut types = Vec::new();
    let rules = |list: &[Rule], peers: &str| -> Vec<Value> {
        list.iter().map(|it| rule(it, peers)).collect()
    };
    if let Some(list) = &it.ingress {
        types.push("Ingress");
        spec["ingress"] = json!(rules(list, "from"));
    }
    if let Some(list) = &it.egress {
        types.push("Egress");
        spec["egress"] = json!(rules(list, "to"));
    }
    spec["policyTypes"] = json!(types);
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata":
            audited(json!({"name": it.id.name, "namespace": it.id.namespace}), it.audit),
        "spec": spec,
    })
}

fn rule(it: &Rule, peers: &str) -> Value {
    json!({
        peers: it.peers.iter().map(peer).collect::<Vec<_>>(),
        "ports": it.ports.iter().map(port).collect::<Vec<_>>(),
    })
}

fn peer(it: &Peer) -> Value {
    match it {
        Peer::Pods { namespaces: None, pods } => json!({"podSelector": selector(pods)}),
        Peer::Pods { namespaces: Some(namespaces), pods } => {
            json!({"namespaceSelector": selector(namespaces), "podSelector": selector(pods)})
        }
        Peer::Block(Block { cidr, except }) => json!({"ipBlock": {"cidr": cidr, "except": except}}),
    }
}

fn port(it: &PortRule) -> Value {
    let protocol = it.protocol.name();
    match &it.port {
        PortSpec::All => json!({"protocol": protocol}),
        PortSpec::Named(name) => json!({"protocol": protocol, "port": name}),
        PortSpec::Range(range) if range.first == range.last => {
            json!({"protocol": protocol, "port": range.first})
        }
        PortSpec::Range(range) => {
            json!({"protocol": protocol, "port": range.first, "endPort": range.last})
        }
    }
}

/// As expressions: `matchLabels` can't hold two requirements on one key.
fn selector(it: &Selector) -> Value {
    let expressions: Vec<_> = it.requirements.iter().map(requirement).collect();
    if expressions.is_empty() { json!({}) } else { json!({"matchExpressions": expressions}) }
}

fn requirement(it: &Requirement) -> Value {
    match it {
        Requirement::In(key, values) => json!({"key": key, "operator": "In", "values": values}),
        Requirement::NotIn(key, values) => {
            json!({"key": key, "operator": "NotIn", "values": values})
        }
        Requirement::Exists(key) => json!({"key": key, "operator": "Exists"}),
        Requirement::DoesNotExist(key) => json!({"key": key, "operator": "DoesNotExist"}),
    }
}

fn service(it: &Service) -> Value {
    let mut spec = json!({
        "clusterIPs": it.cluster_addresses,
        "externalIPs": it.external_addresses,
        "ports": it.ports.iter().map(service_port).collect::<Vec<_>>(),
    });
    if let Some(first) = it.cluster_addresses.first() {
        spec["clusterIP"] = json!(first);
    }
    if let Some(selector) = &it.selector {
        spec["selector"] = labels(selector);
    }
    for (name, policy) in [
        ("externalTrafficPolicy", it.distribution.external),
        ("internalTrafficPolicy", it.distribution.internal),
    ] {
        if policy == TrafficPolicy::Local {
            spec[name] = json!("Local");
        }
    }
    if let Some(seconds) = it.distribution.affinity {
        spec["sessionAffinity"] = json!("ClientIP");
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": seconds}});
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": it.id.name, "namespace": it.id.namespace},
        "spec": spec,
    })
}

fn labels(selector: &Selector) -> Value {
    let pair = |it: &Requirement| match it {
        Requirement::In(key, values) if values.len() == 1 => {
            values.first().map(|value| (key.clone(), json!(value)))
        }
        _ => None,
    };
    Value::Object(selector.requirements.iter().filter_map(pair).collect())
}

fn service_port(it: &ServicePort) -> Value {
    let mut object = json!({
        "protocol": it.protocol.name(),
        "port": it.port,
        "targetPort": match &it.target {
            TargetPort::Number(number) => json!(number),
            TargetPort::Named(name) => json!(name),
        },
    });
    if !it.name.is_empty() {
        object["name"] = json!(it.name);
    }
    if let Some(port) = it.node_port {
        object["nodePort"] = json!(port);
    }
    object
}

#[cfg(test)]
mod tests {
    use enforcer_core::model::Labels;

    use super::*;

    /// `tests/properties/manifests.rs` reads generated clusters back.
    #[test]
    fn an_empty_cluster_is_empty() {
        assert_eq!(manifests(&Cluster::default()), "");
    }

    #[test]
    fn node_addresses_are_a_comment() {
        let node_addresses = ["192.0.2.9".parse().unwrap()].into();
        let mut cluster = Cluster { node_addresses, ..Cluster::default() };
        cluster.namespaces.insert("a".into(), Namespace::new("a", Labels::new()));
        assert!(manifests(&cluster).starts_with("# node address 192.0.2.9\n---\n{"));
    }

    #[test]
    fn selectors_of_everything_are_empty_objects() {
        assert_eq!(selector(&Selector::default()), json!({}));
    }
}
