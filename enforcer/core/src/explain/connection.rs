//! Both ends of a connection, and the reasons of each.

use std::net::IpAddr;

use enforcer_ebpf::contract::verdict::Direction;

use super::change::cost;
use super::rule::{Outcome, Question, RuleResult, judge};
use crate::model::{Cluster, Pod, PodId, Policy, PolicyId, Rule, Traffic, View};

/// The reason why one end of a connection allows or denies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The other end is the pod itself (semantics A1).
    Itself,
    /// The other end is the pod's own node (semantics A2).
    Node,
    /// No policy isolates the pod in this direction (semantics S4).
    NotIsolated,
    /// Some rule allows the connection (semantics S4).
    Allowed {
        /// The policies that isolate the pod in this direction.
        isolating: Vec<PolicyId>,
        /// The rules that allow the connection; never empty.
        by: Vec<RuleResult>,
    },
    /// The pod is isolated, and no rule allows the connection (semantics S4).
    Denied {
        /// The policies that isolate the pod in this direction.
        isolating: Vec<PolicyId>,
        /// The rule that would allow the connection after the fewest changes; `None`: the policies
        /// have no rule that could.
        nearest: Option<RuleResult>,
    },
}

impl Why {
    /// Whether the end allows the connection.
    #[must_use]
    pub fn allows(&self) -> bool {
        !matches!(self, Self::Denied { .. })
    }

    /// The number of the rule in `ARCHITECTURE.md` that decides.
    #[must_use]
    pub fn semantics(&self) -> &'static str {
        match self {
            Self::Itself => "A1",
            Self::Node => "A2",
            Self::NotIsolated | Self::Allowed { .. } | Self::Denied { .. } => "S4",
        }
    }

    /// The policies that isolate the pod in this direction.
    #[must_use]
    pub fn isolating(&self) -> &[PolicyId] {
        match self {
            Self::Allowed { isolating, .. } | Self::Denied { isolating, .. } => isolating,
            Self::Itself | Self::Node | Self::NotIsolated => &[],
        }
    }
}

/// The decision of one end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// The pod.
    pub pod: PodId,
    /// [`Direction::Egress`] for the sender, [`Direction::Ingress`] for the receiver.
    pub direction: Direction,
    /// The decision and its reason.
    pub why: Why,
}

/// The decisions of the pods at both ends, the sender's first (semantics S5). An end that is no
/// subject of policy has none: the connection is allowed if all decisions allow it. `traffic` has
/// the port at `to`. Addresses of Services count as they are: translate them first
/// ([`super::translate`]). If one end is among the cluster's `node_addresses`, a pod at the other end
/// is assumed to run on that node.
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
    let ends = [(from, Direction::Egress, to), (to, Direction::Ingress, from)];
    let consents = ends.into_iter().flat_map(|(end, direction, other)| {
        owners(cluster, end).into_iter().map(move |pod| Consent {
            pod: pod.id.clone(),
            direction,
            why: end_why(cluster, view, pod, direction, other, traffic),
        })
    });
    consents.collect()
}

fn end_why(
    cluster: &Cluster,
    view: View,
    pod: &Pod,
    direction: Direction,
    other: IpAddr,
    traffic: Traffic,
) -> Why {
    if pod.addresses.contains(&other) {
        return Why::Itself;
    }
    if cluster.node_addresses.contains(&other) {
        return Why::Node;
    }
    why_among(cluster, view, &pod.id, direction, other, owners(cluster, other), traffic)
}

/// The reason why the pod's policies allow or deny `traffic` in this direction; [`Why::NotIsolated`]
/// for a pod that is no subject (semantics S1). A1 to A4 are not considered.
#[must_use]
pub fn why(
    cluster: &Cluster,
    pod: &PodId,
    direction: Direction,
    peer: IpAddr,
    traffic: Traffic,
) -> Why {
    why_among(cluster, View::Enforced, pod, direction, peer, owners(cluster, peer), traffic)
}

/// Like [`why`], by the policies that count in a view, with the [`owners`] of the peer's address:
/// without a look at every pod of the cluster.
#[must_use]
pub fn why_among(
    cluster: &Cluster,
    view: View,
    pod: &PodId,
    direction: Direction,
    peer: IpAddr,
    owners: Vec<&Pod>,
    traffic: Traffic,
) -> Why {
    let isolating: Vec<PolicyId> =
        isolating_in(cluster, view, pod, direction).map(|it| it.id.clone()).collect();
    if isolating.is_empty() {
        return Why::NotIsolated;
    }
    let results = results_among(cluster, view, pod, direction, peer, owners, traffic);
    let allows = |it: &&RuleResult| it.outcome == Outcome::Allows;
    let by: Vec<RuleResult> = results.iter().filter(allows).cloned().collect();
    if !by.is_empty() {
        return Why::Allowed { isolating, by };
    }
    let missing = |it: &RuleResult| match &it.outcome {
        Outcome::Misses(changes) => Some(cost(changes)),
        Outcome::Allows | Outcome::Never => None,
    };
    let possible = results.into_iter().filter(|it| missing(it).is_some());
    Why::Denied { isolating, nearest: possible.min_by_key(missing) }
}

/// The answer of every rule of every policy that isolates the pod in this direction.
#[must_use]
pub fn results(
    cluster: &Cluster,
    pod: &PodId,
    direction: Direction,
    peer: IpAddr,
    traffic: Traffic,
) -> Vec<RuleResult> {
    results_in(cluster, View::Enforced, pod, direction, peer, traffic)
}

/// Like [`results`], by the policies that count in a view.
#[must_use]
pub fn results_in(
    cluster: &Cluster,
    view: View,
    pod: &PodId,
    direction: Direction,
    peer: IpAddr,
    traffic: Traffic,
) -> Vec<RuleResult> {
    results_among(cluster, view, pod, direction, peer, owners(cluster, peer), traffic)
}

fn results_among(
    cluster: &Cluster,
    view: View,
    pod: &PodId,
    direction: Direction,
    peer: IpAddr,
    owners: Vec<&Pod>,
    traffic: Traffic,
) -> Vec<RuleResult> {
    let Some(subject) = cluster.pods.get(pod) else { return Vec::new() };
    let question = Question { cluster, subject, direction, peer, owners, traffic };
    let policies = isolating_in(cluster, view, pod, direction);
    let results = policies.flat_map(|policy| {
        let rules = rules(policy, direction).into_iter().flatten().enumerate();
        let question = &question;
        rules.map(move |(index, rule)| judge(question, policy, index, rule))
    });
    results.collect()
}

/// The policies that isolate the pod in this direction (semantics S1, S2, S4).
pub fn isolating<'a>(
    cluster: &'a Cluster,
    pod: &PodId,
    direction: Direction,
) -> impl Iterator<Item = &'a Policy> {
    isolating_in(cluster, View::Enforced, pod, direction)
}

/// Like [`isolating`], of the policies that count in a view.
pub fn isolating_in<'a>(
    cluster: &'a Cluster,
    view: View,
    pod: &PodId,
    direction: Direction,
) -> impl Iterator<Item = &'a Policy> {
    let subject = cluster.pods.get(pod).filter(|it| it.is_peer() && !it.addresses.is_empty());
    let namespace = subject.map(|it| it.id.namespace.as_str()).unwrap_or_default();
    let first = PolicyId::new(namespace, "");
    let here = cluster.policies.range(first..).take_while(move |(id, _)| id.namespace == namespace);
    here.map(|(_, policy)| policy).filter(move |policy| {
        subject.is_some_and(|it| policy.subjects.matches(&it.labels))
            && rules(policy, direction).is_some()
            && cluster.counts(policy, view)
    })
}

/// The policy's rules in this direction; `None`: it does not isolate in it.
pub(super) fn rules(policy: &Policy, direction: Direction) -> Option<&Vec<Rule>> {
    match direction {
        Direction::Ingress => policy.ingress.as_ref(),
        Direction::Egress => policy.egress.as_ref(),
    }
}

/// The pods with this address that selectors can match (semantics R4). If some are being deleted
/// and others not, the address belongs to the others (semantics C5).
#[must_use]
pub fn owners(cluster: &Cluster, address: IpAddr) -> Vec<&Pod> {
    let pods = cluster.pods.values();
    owners_among(pods.filter(|pod| pod.addresses.contains(&address)))
}

/// Like [`owners`], among the pods that have the address.
#[must_use]
pub fn owners_among<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Vec<&'a Pod> {
    let mut claimants: Vec<&Pod> = pods.into_iter().filter(|pod| pod.is_peer()).collect();
    if claimants.iter().any(|pod| !pod.terminating) {
        claimants.retain(|pod| !pod.terminating);
    }
    claimants
}
