//! The reference evaluator: the plainest possible reading of the Kubernetes documentation.
//!
//! Tests compare the compiler with it. It is slow, and shares nothing with the compiler but the
//! model's data: it matches labels and compares prefixes with code of its own. The numbers are
//! those of the rules in `ARCHITECTURE.md`.
//!
//! If several pods have one address, a peer entry matches the address if it matches any of them
//! (R4), and a connection with the address requires the consent of all of them (S5), because the
//! address does not identify one of them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use enforcer_ebpf::contract::verdict::Direction;
use ipnet::IpNet;

pub use crate::model::Traffic;
use crate::model::{
    Block, Cluster, Labels, Namespace, Peer, Pod, PodId, Policy, PolicyId, PortRule, PortSpec,
    Requirement, Rule, Selector, View,
};

/// The reason why one end of a connection allows or denies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The other end is the pod itself (semantics A1).
    Itself,
    /// The other end is the pod's own node (semantics A2).
    Node,
    /// No policy isolates the pod in this direction (semantics S4).
    NotIsolated,
    /// Rules of these policies allow the connection.
    AllowedBy(BTreeSet<PolicyId>),
    /// These policies isolate the pod, and none of their rules allows the connection.
    Denied(BTreeSet<PolicyId>),
}

impl Why {
    /// Whether the end allows the connection.
    #[must_use]
    pub fn allows(&self) -> bool {
        !matches!(self, Self::Denied(_))
    }
}

/// The decision of one end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// The pod.
    pub pod: PodId,
    /// [`Direction::Egress`] for the sender, [`Direction::Ingress`] for the receiver.
    pub direction: Direction,
    /// The decision.
    pub why: Why,
}

/// Whether the pod's ingress side allows `peer` to open `traffic` towards the pod (semantics S4,
/// R1–R8). A1 to A4 are not considered.
#[must_use]
pub fn ingress_allows(cluster: &Cluster, pod: &PodId, peer: IpAddr, traffic: Traffic) -> bool {
    why(cluster, pod, Direction::Ingress, peer, traffic).allows()
}

/// Whether the pod's egress side allows the pod to open `traffic` towards `peer`.
#[must_use]
pub fn egress_allows(cluster: &Cluster, pod: &PodId, peer: IpAddr, traffic: Traffic) -> bool {
    why(cluster, pod, Direction::Egress, peer, traffic).allows()
}

/// Whether a policy isolates the pod in this direction (semantics S4).
#[must_use]
pub fn is_isolated(cluster: &Cluster, pod: &PodId, direction: Direction) -> bool {
    isolating(cluster, View::Enforced, pod, direction).next().is_some()
}

/// Whether both ends allow a connection from one address to another (semantics S5, A1, A2).
/// `traffic` has the port at `to`. The cluster is seen from one node: if one end is among its
/// `node_addresses`, a pod at the other end is assumed to run on that node.
#[must_use]
pub fn connection_allowed(cluster: &Cluster, from: IpAddr, to: IpAddr, traffic: Traffic) -> bool {
    connection(cluster, from, to, traffic).iter().all(|consent| consent.why.allows())
}

/// The decisions of the pods at both ends, the sender's first. An end that is no subject of policy
/// has none. See [`connection_allowed`].
#[must_use]
pub fn connection(cluster: &Cluster, from: IpAddr, to: IpAddr, traffic: Traffic) -> Vec<Consent> {
    connection_in(cluster, View::Enforced, from, to, traffic)
}

/// Like [`connection`], by the policies that count in a view.
#[must_use]
pub fn connection_in(
    cluster: &Cluster,
    view: View,
    from: IpAddr,
    to: IpAddr,
    traffic: Traffic,
) -> Vec<Consent> {
    let mut consents = Vec::new();
    let ends = [(from, Direction::Egress, to), (to, Direction::Ingress, from)];
    for (end, direction, other) in ends {
        for pod in owners(cluster, end) {
            let why = if pod.addresses.contains(&other) {
                Why::Itself // A1
            } else if cluster.node_addresses.contains(&other) {
                Why::Node // A2
            } else {
                why_in(cluster, view, &pod.id, direction, other, traffic)
            };
            consents.push(Consent { pod: pod.id.clone(), direction, why });
        }
    }
    consents
}

/// The reason why the pod's policies allow or deny `traffic` in this direction. A1 to A4 are not
/// considered: the result is never [`Why::Itself`] or [`Why::Node`].
#[must_use]
pub fn why(
    cluster: &Cluster,
    pod: &PodId,
    direction: Direction,
    peer: IpAddr,
    traffic: Traffic,
) -> Why {
    why_in(cluster, View::Enforced, pod, direction, peer, traffic)
}

/// Like [`why`], by the policies that count in a view.
#[must_use]
pub fn why_in(
    cluster: &Cluster,
    view: View,
    pod: &PodId,
    direction: Direction,
    peer: IpAddr,
    traffic: Traffic,
) -> Why {
    // S4: which policies isolate the pod?
    let isolating: Vec<&Policy> = isolating(cluster, view, pod, direction).collect();
    if isolating.is_empty() {
        return Why::NotIsolated;
    }
    // S4: does any rule of any of them allow it?
    let mut allowing = BTreeSet::new();
    for policy in &isolating {
        for rule in rules(policy, direction).into_iter().flatten() {
            if rule_allows(cluster, pod, policy, direction, rule, peer, traffic) {
                allowing.insert(policy.id.clone());
            }
        }
    }
    if allowing.is_empty() {
        return Why::Denied(isolating.into_iter().map(|policy| policy.id.clone()).collect());
    }
    Why::AllowedBy(allowing)
}

/// The policies that isolate the pod in this direction.
fn isolating<'a>(
    cluster: &'a Cluster,
    view: View,
    pod: &PodId,
    direction: Direction,
) -> impl Iterator<Item = &'a Policy> {
    let pod = cluster.pods.get(pod);
    cluster.policies.values().filter(move |policy| {
        pod.is_some_and(|pod| {
            // S1: is the pod subject to policy at all?
            !pod.host_network
                && !pod.finished
                && !pod.addresses.is_empty()
                // S2: is it in the policy's namespace, and does the policy's selector match it?
                && pod.id.namespace == policy.id.namespace
                && matches(&policy.subjects, &pod.labels)
                // S4: is the policy of this type?
                && rules(policy, direction).is_some()
                // Does it count, or is it only reported?
                && match view {
                    View::Enforced => !is_in_audit(cluster, policy),
                    View::WouldBe => true,
                }
        })
    })
}

/// Is the policy in audit: itself, with its namespace, or with all others?
fn is_in_audit(cluster: &Cluster, policy: &Policy) -> bool {
    let namespace = cluster.namespaces.get(policy.id.namespace.as_str());
    policy.audit || cluster.audit || namespace.is_some_and(|it| it.audit)
}

/// The rules of a policy of this type (semantics S3); `None`: it is not of this type.
fn rules(policy: &Policy, direction: Direction) -> Option<&Vec<Rule>> {
    match direction {
        Direction::Ingress => policy.ingress.as_ref(),
        Direction::Egress => policy.egress.as_ref(),
    }
}

/// Does the rule allow the pod this traffic with this peer?
fn rule_allows(
    cluster: &Cluster,
    pod: &PodId,
    policy: &Policy,
    direction: Direction,
    rule: &Rule,
    peer: IpAddr,
    traffic: Traffic,
) -> bool {
    // R7: for ingress, the receiving pod is always the subject.
    let subject = cluster.pods.get(pod).into_iter().collect::<Vec<_>>();
    let receivers = |peers| match direction {
        Direction::Ingress => subject.clone(),
        Direction::Egress => peers,
    };
    // R1: without peers, the rule allows every peer. Peers that are pods have port names.
    if rule.peers.is_empty() {
        return ports_allow(rule, &receivers(owners(cluster, peer).collect()), traffic);
    }
    // R2: peers are alternatives.
    rule.peers.iter().any(|entry| match entry {
        // R6: by address alone, so for egress no port has a name (R7).
        Peer::Block(block) => {
            in_block(block, peer) && ports_allow(rule, &receivers(Vec::new()), traffic)
        }
        // R4: is it the address of a pod that the selectors match?
        Peer::Pods { namespaces, pods } => {
            let matched: Vec<&Pod> = owners(cluster, peer)
                .filter(|it| in_scope(cluster, policy, namespaces.as_ref(), it))
                .filter(|it| matches(pods, &it.labels))
                .collect();
            !matched.is_empty() && ports_allow(rule, &receivers(matched), traffic)
        }
    })
}

/// The pods with this address that selectors can match: not on the host's network and not finished
/// (semantics R4). If some are being deleted and others not, the address belongs to the others
/// (semantics C5).
fn owners(cluster: &Cluster, address: IpAddr) -> impl Iterator<Item = &Pod> {
    let claimants = move || {
        cluster
            .pods
            .values()
            .filter(|pod| !pod.host_network && !pod.finished)
            .filter(move |pod| pod.addresses.contains(&address))
    };
    let passed_on = claimants().any(|pod| !pod.terminating);
    claimants().filter(move |pod| !(passed_on && pod.terminating))
}

/// Is the pod in the scope of a peer entry?
fn in_scope(cluster: &Cluster, policy: &Policy, namespaces: Option<&Selector>, pod: &Pod) -> bool {
    let name = &pod.id.namespace;
    match namespaces {
        // R2: the policy's own.
        None => *name == policy.id.namespace,
        // R2, R3: those with such labels. An undeclared namespace has only its name as a label.
        Some(selector) => match cluster.namespaces.get(name.as_str()) {
            Some(namespace) => matches(selector, &namespace.labels),
            None => matches(selector, &Namespace::new(name.as_str(), Labels::new()).labels),
        },
    }
}

/// Does the selector match these labels (semantics R3)?
fn matches(selector: &Selector, labels: &Labels) -> bool {
    selector.requirements.iter().all(|requirement| match requirement {
        Requirement::In(key, values) => {
            values.iter().any(|it| labels.get(key).is_some_and(|value| value == it))
        }
        Requirement::NotIn(key, values) => {
            values.iter().all(|it| labels.get(key).is_none_or(|value| value != it))
        }
        Requirement::Exists(key) => labels.keys().any(|it| it == key),
        Requirement::DoesNotExist(key) => labels.keys().all(|it| it != key),
    })
}

/// Is the address in the block, and in none of its own exceptions (semantics R5)?
fn in_block(block: &Block, address: IpAddr) -> bool {
    within(&block.cidr, address) && !block.except.iter().any(|except| within(except, address))
}

/// Does the address begin with the prefix's bits? Host bits do not count (semantics R5).
fn within(prefix: &IpNet, address: IpAddr) -> bool {
    let length = usize::from(prefix.prefix_len());
    let (one, two) = (bits(prefix.addr()), bits(address));
    one.len() == two.len() && one.iter().zip(&two).take(length).all(|(one, two)| one == two)
}

/// The address's bits, most significant first. Their number depends on the family.
fn bits(address: IpAddr) -> Vec<bool> {
    let bytes = match address {
        IpAddr::V4(it) => it.octets().to_vec(),
        IpAddr::V6(it) => it.octets().to_vec(),
    };
    bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect()
}

/// Do the rule's ports allow the traffic towards one of these pods? Without pods: towards an
/// address without port names.
fn ports_allow(rule: &Rule, receivers: &[&Pod], traffic: Traffic) -> bool {
    // R1: without ports, the rule allows every port of every protocol.
    if rule.ports.is_empty() {
        return true;
    }
    match traffic {
        // R1: a rule with ports never matches a protocol without ports.
        Traffic::Portless => false,
        Traffic::Port(protocol, port) => rule.ports.iter().any(|entry| {
            // R8: is it the protocol?
            entry.protocol == protocol && port_matches(entry, receivers, port)
        }),
    }
}

/// Does the entry match this port of its protocol (semantics R7)?
fn port_matches(entry: &PortRule, receivers: &[&Pod], port: u16) -> bool {
    match &entry.port {
        PortSpec::All => true,
        PortSpec::Range(range) => range.first <= port && port <= range.last,
        PortSpec::Named(name) => receivers.iter().any(|pod| {
            pod.ports
                .iter()
                .any(|it| it.name == *name && it.protocol == entry.protocol && it.port == port)
        }),
    }
}
