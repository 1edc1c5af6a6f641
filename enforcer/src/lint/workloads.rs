//! Policies against the pods and Services that the same files declare.
//!
//! Files rarely declare the whole cluster: a selector is judged only where they declare pods that it could
//! have matched.

use std::collections::BTreeSet;

use enforcer_core::model::{
    Peer, Pod, Policy, PortRule, PortSpec, Requirement, Rule, Selector, TargetPort,
};
use serde_json::{Map, Value, json};

use super::estate::{Estate, Subject};
use super::finding::Finding;

pub(super) const MATCHES_NOTHING: &str = "matches-nothing";
pub(super) const PORT_NAME: &str = "port-name";
pub(super) const SERVICE_PORT: &str = "service-port";
pub(super) const PORT_PROTOCOL: &str = "port-protocol";
pub(super) const SERVICE_ADDRESS: &str = "service-address";

/// Letters by which a label differs that is probably meant.
const MISSPELT: usize = 3;

pub(super) fn lint(estate: &Estate<'_>, subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let Some(policy) = subject.policy else { return found };
    subjects(estate, policy, &mut found);
    for (rules, direction, field) in
        [(&policy.ingress, "ingress", "from"), (&policy.egress, "egress", "to")]
    {
        for (index, rule) in rules.iter().flatten().enumerate() {
            let path = format!("spec.{direction}[{index}]");
            for (at, peer) in rule.peers.iter().enumerate() {
                let path = format!("{path}.{field}[{at}]");
                peer_without_pods(estate, policy, peer, &path, &mut found);
                address(estate, policy, peer, &path, &mut found);
            }
            let receivers = match direction {
                "ingress" => estate.selected(policy),
                _ => receivers(estate, policy, rule),
            };
            ports(estate, rule, &path, &receivers, &mut found);
        }
    }
    found
}

/// `spec.podSelector` beside pods of which it matches none.
fn subjects(estate: &Estate<'_>, policy: &Policy, found: &mut Vec<Finding>) {
    let namespace = &policy.id.namespace;
    let pods: Vec<&Pod> = estate.pods_in(namespace).collect();
    let is_odd = || estate.coverage.is_odd(&policy.subjects, &pods, namespace);
    if !pods.is_empty() && estate.selected(policy).is_empty() && is_odd() {
        let message = match pods.len() {
            1 => format!("does not match the pod that the files declare in namespace {namespace}"),
            count => format!(
                "matches none of the {count} pods that the files declare in namespace {namespace}"
            ),
        };
        found.push(matches_nothing(&policy.subjects, &pods, "spec.podSelector", message));
    }
}

fn peer_without_pods(
    estate: &Estate<'_>,
    policy: &Policy,
    peer: &Peer,
    path: &str,
    found: &mut Vec<Finding>,
) {
    let Peer::Pods { pods, .. } = peer else { return };
    let (near, matching) = estate.peers(policy, peer);
    let is_odd = || estate.coverage.is_odd(pods, &near, &policy.id.namespace);
    if !near.is_empty() && matching.is_empty() && is_odd() {
        let message = match near.len() {
            1 => "does not match the pod that the files declare in these namespaces".to_owned(),
            count => {
                format!(
                    "matches none of the {count} pods that the files declare in these namespaces"
                )
            }
        };
        found.push(matches_nothing(pods, &near, &format!("{path}.podSelector"), message));
    }
}

/// A finding on a selector that matches none of these pods, with the label of one that is nearest to it.
fn matches_nothing(selector: &Selector, pods: &[&Pod], path: &str, message: String) -> Finding {
    let wanted = written(selector);
    let distance = |key: &str, value: &str| {
        let label = format!("{key}={value}");
        let wanted =
            wanted.iter().map(|(key, it)| format!("{key}={}", it.as_str().unwrap_or_default()));
        wanted.map(|it| strsim::damerau_levenshtein(&it, &label)).min()
    };
    let labels = pods.iter().flat_map(|it| it.labels.iter());
    let labels =
        labels.filter_map(|(key, it)| Some((distance(key, it)?, key.as_str(), it.as_str())));
    let Some((distance, key, value)) = labels.min() else {
        return Finding::new(MATCHES_NOTHING, path, message);
    };
    let message = format!("{message}; the nearest label of one is `{key}: {value}`");
    let finding = Finding::new(MATCHES_NOTHING, path, message);
    let right = json!({"podSelector": {"matchLabels": {key: value}}});
    // Others are hardly meant.
    if distance <= MISSPELT { finding.snippet(&right) } else { finding }
}

/// The declared pods that an egress rule leads to, if it leads to pods only.
fn receivers<'e>(estate: &'e Estate<'_>, policy: &Policy, rule: &Rule) -> Vec<&'e Pod> {
    if rule.peers.iter().any(|it| matches!(it, Peer::Block(_))) {
        return Vec::new();
    }
    rule.peers.iter().flat_map(|it| estate.peers(policy, it).1).collect()
}

/// Ports against those that the receiving pods declare.
fn ports(
    estate: &Estate<'_>,
    rule: &Rule,
    path: &str,
    receivers: &[&Pod],
    found: &mut Vec<Finding>,
) {
    // A pod may listen on a port that it does not declare.
    if receivers.is_empty() || receivers.iter().any(|it| it.ports.is_empty()) {
        return;
    }
    for (index, port) in rule.ports.iter().enumerate() {
        let at = format!("{path}.ports[{index}].port");
        match &port.port {
            PortSpec::Named(name) => found.extend(missing_name(name, port, at, receivers)),
            PortSpec::Range(range) if range.first == range.last => {
                let finding = missing_number(estate, port, range.first, &at, receivers);
                found.extend(
                    finding.map(
                        |it| {
                            if it.path.is_empty() { Finding { path: at, ..it } } else { it }
                        },
                    ),
                );
            }
            _ => {}
        }
    }
}

fn missing_name(name: &str, port: &PortRule, at: String, receivers: &[&Pod]) -> Option<Finding> {
    let declared = || receivers.iter().flat_map(|it| &it.ports).filter(|it| it.name == name);
    if declared().any(|it| it.protocol == port.protocol) {
        return None;
    }
    if let Some(other) = declared().next() {
        let message = format!(
            "the pods declare the port `{name}` for {}, not for {}",
            other.protocol, port.protocol
        );
        let right = json!([{"port": name, "protocol": other.protocol.name()}]);
        return Some(Finding::new(PORT_PROTOCOL, at, message).snippet(&right));
    }
    let names: BTreeSet<&str> = receivers
        .iter()
        .flat_map(|it| &it.ports)
        .map(|it| it.name.as_str())
        .filter(|it| !it.is_empty())
        .collect();
    let nearest = names.iter().min_by_key(|it| strsim::damerau_levenshtein(name, it));
    let number = receivers.iter().flat_map(|it| &it.ports).map(|it| it.port).next();
    let right = json!([{"port": nearest.map_or_else(|| json!(number), |it| json!(it))}]);
    let message = format!("no receiving pod that the files declare has a port named `{name}`");
    Some(Finding::new(PORT_NAME, at, message).snippet(&right))
}

/// A port that no receiver declares, if it is that of a Service or of another protocol.
fn missing_number(
    estate: &Estate<'_>,
    rule: &PortRule,
    number: u16,
    at: &str,
    receivers: &[&Pod],
) -> Option<Finding> {
    let declared = || receivers.iter().flat_map(|it| &it.ports).filter(|it| it.port == number);
    if declared().any(|it| it.protocol == rule.protocol) {
        return None;
    }
    if let Some(other) = declared().next() {
        let message = format!(
            "the pods declare port {number} for {}, not for {}",
            other.protocol, rule.protocol
        );
        let right = json!([{"port": number, "protocol": other.protocol.name()}]);
        return Some(Finding::new(PORT_PROTOCOL, at, message).snippet(&right));
    }
    let services =
        receivers.iter().flat_map(|pod| estate.services_of(pod).map(move |it| (*pod, it)));
    let mut ports =
        services.flat_map(|(pod, service)| service.ports.iter().map(move |it| (pod, service, it)));
    let (pod, service, port) =
        ports.find(|(_, _, it)| it.port == number && it.protocol == rule.protocol)?;
    let target = match &port.target {
        TargetPort::Number(target) => *target,
        TargetPort::Named(name) => pod.ports.iter().find(|it| it.name == *name)?.port,
    };
    let message = format!(
        "{number} is the port of Service {}; policies are about the pods' own port, {target}",
        service.id
    );
    let right = json!([{"port": target, "protocol": rule.protocol.name()}]);
    (target != number).then(|| Finding::new(SERVICE_PORT, at, message).snippet(&right))
}

/// An `ipBlock` of a Service's or a pod's own address.
fn address(
    estate: &Estate<'_>,
    policy: &Policy,
    peer: &Peer,
    path: &str,
    found: &mut Vec<Finding>,
) {
    let Peer::Block(block) = peer else { return };
    if block.cidr.prefix_len() != block.cidr.max_prefix_len() {
        return;
    }
    let address = block.cidr.addr();
    let service =
        estate.cluster.services.values().find(|it| it.cluster_addresses.contains(&address));
    let pod =
        estate.cluster.pods.values().find(|it| it.is_peer() && it.addresses.contains(&address));
    let message = match (service, pod) {
        (Some(it), _) => format!(
            "{address} is the address of Service {}; policies are about the pods behind it: select these",
            it.id
        ),
        (None, Some(it)) => {
            format!(
                "{address} is the address of pod {} now, and of another one later: select its labels",
                it.id
            )
        }
        (None, None) => return,
    };
    let (labels, namespace) = match (service, pod) {
        (Some(it), _) => (it.selector.as_ref().map(written).unwrap_or_default(), &it.id.namespace),
        (None, Some(it)) => (of_pod(it), &it.id.namespace),
        (None, None) => return,
    };
    let mut right = Map::from_iter([("podSelector".to_owned(), json!({"matchLabels": labels}))]);
    if *namespace != policy.id.namespace {
        let name = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace.as_str()}});
        right.insert("namespaceSelector".to_owned(), name);
    }
    let finding = Finding::new(SERVICE_ADDRESS, format!("{path}.ipBlock.cidr"), message);
    found.push(if labels.is_empty() { finding } else { finding.snippet(&json!([right])) });
}

/// The labels of a pod, without those that controllers add.
fn of_pod(pod: &Pod) -> Map<String, Value> {
    let own = pod.labels.iter().filter(|(key, _)| !key.contains("template-"));
    own.map(|(key, value)| (key.to_string(), value.as_str().into())).collect()
}

/// The labels that a selector wants.
fn written(selector: &Selector) -> Map<String, Value> {
    let label = |it: &Requirement| match it {
        Requirement::In(key, values) => {
            Some((key.to_string(), values.iter().next()?.as_str().into()))
        }
        _ => None,
    };
    selector.requirements.iter().filter_map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::fixture::{found, policy};

    const PODS: &str = "apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: c, ports: [{name: http, containerPort: 8080}, {containerPort: 53, protocol: UDP}]}]}
status: {podIP: 10.244.0.7}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.0.0.7, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
";

    fn check(spec: &str, expected: &[(&'static str, &str)]) {
        let expected: Vec<_> =
            expected.iter().map(|(lint, at)| (*lint, (*at).to_owned())).collect();
        assert_eq!(found(&(PODS.to_owned() + &policy(spec))), expected, "{spec}");
        // Nothing is known without the pods.
        let alone: Vec<_> = found(&policy(spec));
        assert_eq!(alone, [], "{spec}");
    }

    #[test]
    fn selectors_that_match_nothing() {
        check("podSelector: {matchLabels: {app: wbe}}", &[(MATCHES_NOTHING, "spec.podSelector")]);
        let spec = "podSelector: {}\ningress: [{from: [{podSelector: {matchLabels: {a: b}}}]}]";
        check(spec, &[(MATCHES_NOTHING, "spec.ingress[0].from[0].podSelector")]);
        check("podSelector: {matchLabels: {app: web}}", &[]);
        // These namespaces are not declared.
        let spec = "podSelector: {}\ningress: [{from: [{namespaceSelector: {matchLabels: {a: b}}, podSelector: {matchLabels: {a: b}}}]}]";
        check(spec, &[]);
    }

    #[test]
    fn ports_that_no_pod_has() {
        let spec = |port: &str| format!("podSelector: {{}}\ningress: [{{ports: [{{{port}}}]}}]");
        let at = "spec.ingress[0].ports[0].port";
        check(&spec("port: htp"), &[(PORT_NAME, at)]);
        check(&spec("port: http, protocol: UDP"), &[(PORT_PROTOCOL, at)]);
        check(&spec("port: 8080, protocol: UDP"), &[(PORT_PROTOCOL, at)]);
        check(&spec("port: 80"), &[(SERVICE_PORT, at)]);
        for good in ["port: http", "port: 8080", "port: 9999", "port: 1, endPort: 80"] {
            check(&spec(good), &[]);
        }
    }

    #[test]
    fn addresses_that_belong_to_pods() {
        let spec = |cidr: &str| {
            format!("podSelector: {{}}\ningress: [{{from: [{{ipBlock: {{cidr: {cidr}}}}}]}}]")
        };
        let at = "spec.ingress[0].from[0].ipBlock.cidr";
        check(&spec("10.0.0.7/32"), &[(SERVICE_ADDRESS, at)]);
        check(&spec("10.244.0.7/32"), &[(SERVICE_ADDRESS, at)]);
        check(&spec("10.0.0.0/16"), &[]);
        check(&spec("10.0.0.8/32"), &[]);
    }
}
