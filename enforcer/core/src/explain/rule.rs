//! One rule and one connection: does it allow it, and if not, what is missing?

use std::fmt;
use std::net::IpAddr;

use enforcer_ebpf::contract::verdict::Direction;
use ipnet::IpNet;

use super::change::{Change, cost};
use super::labels::fixes;
use super::ports::{Receiver, missing};
use crate::model::{
    Block, Cluster, Labels, NAMESPACE_NAME_LABEL, Namespace, Peer, Pod, Policy, PolicyId,
    Requirement, Rule, Selector, Traffic,
};

/// A rule of a policy. `Display` gives its path, such as `spec.ingress[1]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleRef {
    /// The policy.
    pub policy: PolicyId,
    /// Whether it is among the rules of `ingress` or `egress`.
    pub direction: Direction,
    /// Its index there.
    pub index: usize,
}

/// An entry of a rule's `from` or `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerRef {
    /// Its index.
    pub index: usize,
    /// The field of the entry that decides; `None`: both selectors.
    pub field: Option<&'static str>,
}

/// A rule's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleResult {
    /// The rule.
    pub rule: RuleRef,
    /// The entry of `from` or `to` that matches or nearly does; `None`: the rule has no peers.
    pub peer: Option<PeerRef>,
    /// The index of the entry of `ports`, likewise.
    pub port: Option<usize>,
    /// The answer.
    pub outcome: Outcome,
}

/// Whether a rule allows a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It does.
    Allows,
    /// It would, but for these differences; never empty.
    Misses(Vec<Change>),
    /// It allows no such connection, whatever its ends' labels, addresses and port are.
    Never,
}

impl RuleResult {
    /// The path of the field that decides, such as `spec.ingress[1].from[0].podSelector`.
    #[must_use]
    pub fn path(&self) -> String {
        let list = match self.rule.direction {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        };
        match self.peer {
            None => self.rule.to_string(),
            Some(PeerRef { index, field: None }) => format!("{}.{list}[{index}]", self.rule),
            Some(PeerRef { index, field: Some(field) }) => {
                format!("{}.{list}[{index}].{field}", self.rule)
            }
        }
    }

    /// The path of the entry of `ports` that decides, if there is one.
    #[must_use]
    pub fn port_path(&self) -> Option<String> {
        self.port.map(|index| format!("{}.ports[{index}]", self.rule))
    }
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spec.{}[{}]", self.direction.name(), self.index)
    }
}

/// A connection as one end sees it.
#[derive(Debug, Clone)]
pub(super) struct Question<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) subject: &'a Pod,
    pub(super) direction: Direction,
    pub(super) peer: IpAddr,
    /// The pods with the peer's address that selectors can match (semantics R4, C5).
    pub(super) owners: Vec<&'a Pod>,
    pub(super) traffic: Traffic,
}

/// A way to match a peer entry: what has to change, and the pods that define port names then.
struct Way<'a> {
    changes: Vec<Change>,
    receivers: Vec<Receiver<'a>>,
}

/// The rule's answer to the question.
pub(super) fn judge(
    question: &Question<'_>,
    policy: &Policy,
    index: usize,
    rule: &Rule,
) -> RuleResult {
    let place = RuleRef { policy: policy.id.clone(), direction: question.direction, index };
    let peers: Vec<(Option<PeerRef>, Option<&Peer>)> = if rule.peers.is_empty() {
        vec![(None, None)]
    } else {
        let entries = rule.peers.iter().enumerate();
        entries.map(|(index, it)| (Some(PeerRef { index, field: field(it) }), Some(it))).collect()
    };
    let mut best: Option<(u32, RuleResult)> = None;
    for (peer, entry) in peers {
        for way in question.ways(policy, entry) {
            for (port, change) in port_ways(rule, &way.receivers, question.traffic) {
                let changes: Vec<Change> = way.changes.iter().cloned().chain(change).collect();
                let cost = cost(&changes);
                if best.as_ref().is_none_or(|(known, _)| cost < *known) {
                    let outcome = match changes.is_empty() {
                        true => Outcome::Allows,
                        false => Outcome::Misses(changes),
                    };
                    best = Some((cost, RuleResult { rule: place.clone(), peer, port, outcome }));
                }
            }
        }
    }
    let never = RuleResult { rule: place, peer: None, port: None, outcome: Outcome::Never };
    best.map_or(never, |(_, result)| result)
}

fn field(peer: &Peer) -> Option<&'static str> {
    match peer {
        Peer::Block(_) => Some("ipBlock"),
        Peer::Pods { namespaces: None, .. } => Some("podSelector"),
        Peer::Pods { pods, .. } if pods.requirements.is_empty() => Some("namespaceSelector"),
        Peer::Pods { .. } => None,
    }
}

/// The entries of a rule's ports that match after at most one change each.
fn port_ways(
    rule: &Rule,
    receivers: &[Receiver<'_>],
    traffic: Traffic,
) -> Vec<(Option<usize>, Option<Change>)> {
    if rule.ports.is_empty() {
        return vec![(None, None)];
    }
    let entries = rule.ports.iter().enumerate();
    entries
        .filter_map(|(index, it)| Some((Some(index), missing(it, receivers, traffic)?)))
        .collect()
}

impl<'a> Question<'a> {
    /// The ways to match an entry of the rule's peers (semantics R1, R2).
    fn ways(&self, policy: &Policy, entry: Option<&Peer>) -> Vec<Way<'a>> {
        match entry {
            None => {
                let receivers = self.receivers(self.owners.iter().map(|it| receiver(it)).collect());
                vec![Way { changes: Vec::new(), receivers }]
            }
            Some(Peer::Block(block)) => self.block(block).into_iter().collect(),
            Some(Peer::Pods { namespaces, pods }) => {
                let matched: Vec<Receiver<'a>> = self
                    .owners
                    .iter()
                    .filter(|pod| self.in_scope(policy, namespaces.as_ref(), pod))
                    .filter(|pod| pods.matches(&pod.labels))
                    .map(|pod| receiver(pod))
                    .collect();
                if !matched.is_empty() {
                    return vec![Way { changes: Vec::new(), receivers: self.receivers(matched) }];
                }
                let namespaces = namespaces.as_ref();
                let new = || self.new_pod(policy, namespaces, pods).into_iter().collect();
                let known = self.owners.iter();
                let known: Vec<_> =
                    known.filter_map(|pod| self.relabel(policy, namespaces, pods, pod)).collect();
                if self.owners.is_empty() { new() } else { known }
            }
        }
    }

    /// The pods that define port names, if these are the peers.
    fn receivers(&self, peers: Vec<Receiver<'a>>) -> Vec<Receiver<'a>> {
        match self.direction {
            Direction::Ingress => vec![receiver(self.subject)],
            Direction::Egress => peers,
        }
    }

    /// By address alone, so for egress no port has a name (semantics R5, R6, R7).
    fn block(&self, block: &Block) -> Option<Way<'a>> {
        let cidr = block.cidr.trunc();
        let has = |address: IpAddr| {
            cidr.contains(&address) && !block.except.iter().any(|it| it.contains(&address))
        };
        let receivers = self.receivers(Vec::new());
        if has(self.peer) {
            return Some(Way { changes: Vec::new(), receivers });
        }
        // If an address is left, one is left beside an exception or at an end of the block.
        let ends = [cidr.network(), cidr.broadcast()].into_iter();
        let beside = block.except.iter().flat_map(beside);
        let instead = ends.chain(beside).find(|it| has(*it))?;
        let except = block.except.iter().filter(|_| cidr.contains(&self.peer));
        let except = except.copied().find(|it| it.contains(&self.peer));
        let change = Change::Address { address: self.peer, cidr, except, instead };
        Some(Way { changes: vec![change], receivers })
    }

    fn in_scope(&self, policy: &Policy, namespaces: Option<&Selector>, pod: &Pod) -> bool {
        match namespaces {
            None => pod.id.namespace == policy.id.namespace,
            Some(selector) => selector.matches(&self.namespace_labels(&pod.id.namespace)),
        }
    }

    /// An undeclared namespace has only its name as a label (semantics R3).
    fn namespace_labels(&self, name: &str) -> Labels {
        let known = self.cluster.namespaces.get(name).map(|it| it.labels.clone());
        known.unwrap_or_else(|| Namespace::new(name, Labels::new()).labels)
    }

    /// The changes after which the entry matches this pod.
    fn relabel(
        &self,
        policy: &Policy,
        namespaces: Option<&Selector>,
        pods: &Selector,
        pod: &'a Pod,
    ) -> Option<Way<'a>> {
        let (namespace, mut changes) = self.place(policy, namespaces, Some(&pod.id.namespace))?;
        if namespace != pod.id.namespace {
            changes.insert(0, Change::Namespace { pod: pod.id.clone(), to: namespace });
        }
        let fixes = fixes(pods, &pod.labels)?.into_iter();
        changes.extend(fixes.map(|fix| Change::PodLabel { pod: Some(pod.id.clone()), fix }));
        Some(Way { changes, receivers: self.receivers(vec![receiver(pod)]) })
    }

    /// The changes after which the entry matches a pod that does not exist yet.
    fn new_pod(
        &self,
        policy: &Policy,
        namespaces: Option<&Selector>,
        pods: &Selector,
    ) -> Option<Way<'a>> {
        let (namespace, labels) = self.place(policy, namespaces, None)?;
        let anywhere = namespaces.is_some_and(|it| it.requirements.is_empty());
        let mut changes = vec![Change::BePod { address: self.peer, namespace, anywhere }];
        changes.extend(labels);
        let fixes = fixes(pods, &Labels::new())?.into_iter();
        changes.extend(fixes.map(|fix| Change::PodLabel { pod: None, fix }));
        let receiver = Receiver { pod: None, ports: &[] };
        Some(Way { changes, receivers: self.receivers(vec![receiver]) })
    }

    /// The namespace where a pod of the namespace `now` would be in the scope of the entry after
    /// the fewest changes, and the changes of that namespace's labels.
    fn place(
        &self,
        policy: &Policy,
        namespaces: Option<&Selector>,
        now: Option<&str>,
    ) -> Option<(String, Vec<Change>)> {
        let Some(selector) = namespaces else {
            return Some((policy.id.namespace.to_string(), Vec::new()));
        };
        let own = now.and_then(|it| self.label(selector, it));
        if own.as_ref().is_some_and(|(_, changes)| changes.is_empty()) {
            return own;
        }
        let by_name = selector.requirements.iter().find_map(|it| match it {
            Requirement::In(key, names) if key == NAMESPACE_NAME_LABEL => Some(names),
            _ => None,
        });
        let elsewhere: Vec<&String> = match by_name {
            Some(names) => names.iter().collect(),
            None => self.cluster.namespaces.keys().collect(),
        };
        let other = elsewhere.into_iter().filter_map(|it| self.label(selector, it));
        let other = other.min_by_key(|(_, changes)| cost(changes));
        // Moving a pod is more than a label.
        const MOVE: u32 = 8;
        match (own, other) {
            (Some(own), Some(other)) if cost(&other.1) + MOVE < cost(&own.1) => Some(other),
            (Some(own), _) => Some(own),
            (None, other) => other,
        }
    }

    /// The changes of a namespace's labels after which the selector matches them. Its name is no
    /// label that can change.
    fn label(&self, selector: &Selector, namespace: &str) -> Option<(String, Vec<Change>)> {
        let fixes = fixes(selector, &self.namespace_labels(namespace))?;
        if fixes.iter().any(|fix| fix.key == NAMESPACE_NAME_LABEL) {
            return None;
        }
        let change = |fix| Change::NamespaceLabel { namespace: namespace.to_owned(), fix };
        Some((namespace.to_owned(), fixes.into_iter().map(change).collect()))
    }
}

fn receiver(pod: &Pod) -> Receiver<'_> {
    Receiver { pod: Some(&pod.id), ports: pod.ports.as_slice() }
}

/// The addresses just before and just after a prefix.
fn beside(prefix: &IpNet) -> impl Iterator<Item = IpAddr> + use<> {
    let (before, after): (Option<IpAddr>, Option<IpAddr>) = match prefix {
        IpNet::V4(it) => (
            it.network().to_bits().checked_sub(1).map(|it| IpAddr::V4(it.into())),
            it.broadcast().to_bits().checked_add(1).map(|it| IpAddr::V4(it.into())),
        ),
        IpNet::V6(it) => (
            it.network().to_bits().checked_sub(1).map(|it| IpAddr::V6(it.into())),
            it.broadcast().to_bits().checked_add(1).map(|it| IpAddr::V6(it.into())),
        ),
    };
    [before, after].into_iter().flatten()
}
