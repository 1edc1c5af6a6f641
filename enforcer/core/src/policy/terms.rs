//! The peers that the rows' rules name, and the ports granted to them.

use std::collections::{BTreeMap, HashMap};

use enforcer_ebpf::contract::verdict::Direction;
use ipnet::IpNet;

use super::compiled::{PortSet, Verdict};
use super::grants::{DraftRow, GrantId, Grants};
use super::ports::{NamedPort, named_port};
use super::selectors::{SelectorId, SelectorIndex, SelectorTable};
use super::subjects::{Draft, Subjects};
use super::verdicts::{VerdictId, Verdicts};
use crate::interner::Interner;
use crate::model::{
    Block, ContainerPort, Peer, PortRange, PortRule, PortSpec, Protocol, Rule, Selector,
};

/// The namespaces whose pods a peer entry can match (semantics R2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Scope<'a> {
    /// The policy's own.
    Own(&'a str),
    /// The namespaces that the selector matches.
    Matching(SelectorId),
}

/// The grant of a rule of one row to the pods of one peer entry.
#[derive(Debug, Clone)]
pub(super) struct Term<'a> {
    pub(super) row: DraftRow,
    /// For every pod.
    pub(super) always: VerdictId,
    /// In addition, for pods with such a port.
    pub(super) named: Vec<NamedPort<'a>>,
}

/// Index of a matcher: a distinct pair of scope and pod selector.
pub(super) type MatcherId = usize;

/// All grants of the rows' rules, by peer.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    pub(super) namespace_selectors: SelectorIndex<'a>,
    pub(super) pod_selectors: SelectorIndex<'a>,
    /// The matchers of each scope, with their pod selectors, sorted.
    pub(super) scopes: HashMap<Scope<'a>, Vec<(SelectorId, MatcherId)>>,
    /// The grants to the pods of each matcher.
    pub(super) matchers: Vec<Vec<Term<'a>>>,
    /// The grants to every pod for its named ports: of rules without peers.
    pub(super) every_pod: Vec<Term<'a>>,
    /// The grant to the addresses of each distinct block.
    pub(super) blocks: Vec<(&'a Block, GrantId)>,
}

/// A rule's ports: those that are numbers, and names that the peer defines.
struct Ports<'a> {
    always: VerdictId,
    named: Vec<NamedPort<'a>>,
}

#[derive(Default)]
struct Collector<'a> {
    namespace_selectors: SelectorTable<'a>,
    pod_selectors: SelectorTable<'a>,
    matcher_ids: Interner<(Scope<'a>, SelectorId)>,
    matchers: Vec<Vec<Term<'a>>>,
    every_pod: Vec<Term<'a>>,
    blocks: BTreeMap<&'a Block, Vec<(DraftRow, VerdictId)>>,
    base: Vec<VerdictId>,
}

/// Collects the grants of the rows' rules.
pub(super) fn collect<'a>(subjects: &Subjects<'a>) -> (Terms<'a>, Grants) {
    let mut verdicts = Verdicts::new();
    let mut collector =
        Collector { base: vec![VerdictId::DENY; subjects.rows.len()], ..Collector::default() };
    for (row, (draft, rules)) in subjects.rows.iter().enumerate() {
        for rule in rules {
            let ports = ports(rule, draft, &mut verdicts);
            collector.add(row, draft.namespace, rule, &ports, &mut verdicts);
        }
    }
    collector.finish(verdicts)
}

impl<'a> Collector<'a> {
    fn add(
        &mut self,
        row: DraftRow,
        namespace: &'a str,
        rule: &'a Rule,
        ports: &Ports<'a>,
        verdicts: &mut Verdicts,
    ) {
        if rule.peers.is_empty() {
            // Every address (semantics R1); pods' addresses in addition by named ports.
            self.base[row] = verdicts.union(self.base[row], ports.always);
            if !ports.named.is_empty() {
                let named = ports.named.clone();
                self.every_pod.push(Term { row, always: VerdictId::DENY, named });
            }
        }
        for peer in &rule.peers {
            match peer {
                // By address alone, so no name has a number (semantics R6, R7).
                Peer::Block(block) => {
                    self.blocks.entry(block).or_default().push((row, ports.always));
                }
                Peer::Pods { namespaces, pods } => {
                    let matcher = self.matcher(namespace, namespaces.as_ref(), pods);
                    let named = ports.named.clone();
                    self.matchers[matcher].push(Term { row, always: ports.always, named });
                }
            }
        }
    }

    fn matcher(
        &mut self,
        namespace: &'a str,
        namespaces: Option<&'a Selector>,
        pods: &'a Selector,
    ) -> MatcherId {
        let scope = match namespaces {
            None => Scope::Own(namespace),
            Some(selector) => Scope::Matching(self.namespace_selectors.intern(selector)),
        };
        let matcher = self.matcher_ids.intern((scope, self.pod_selectors.intern(pods)));
        if matcher == self.matchers.len() {
            self.matchers.push(Vec::new());
        }
        matcher
    }

    fn finish(self, verdicts: Verdicts) -> (Terms<'a>, Grants) {
        let mut grants = Grants::new(verdicts, self.base);
        let blocks = self
            .blocks
            .into_iter()
            .map(|(block, parts)| (block, grants.intern(parts)))
            .filter(|(_, grant)| *grant != GrantId::NONE)
            .collect();
        let mut scopes: HashMap<Scope<'a>, Vec<(SelectorId, MatcherId)>> = HashMap::new();
        for (matcher, (scope, selector)) in self.matcher_ids.into_values().into_iter().enumerate() {
            scopes.entry(scope).or_default().push((selector, matcher));
        }
        for matchers in scopes.values_mut() {
            matchers.sort_unstable();
        }
        let terms = Terms {
            namespace_selectors: SelectorIndex::new(self.namespace_selectors),
            pod_selectors: SelectorIndex::new(self.pod_selectors),
            scopes,
            matchers: self.matchers,
            every_pod: self.every_pod,
            blocks,
        };
        (terms, grants)
    }
}

/// The ports that the rule allows (semantics R1, R7, R8).
fn ports<'a>(rule: &'a Rule, draft: &Draft<'a>, verdicts: &mut Verdicts) -> Ports<'a> {
    if rule.ports.is_empty() {
        return Ports { always: VerdictId::ALLOW, named: Vec::new() };
    }
    let mut ranges = Vec::new();
    let mut named = Vec::new();
    for PortRule { protocol, port } in &rule.ports {
        match port {
            PortSpec::All => ranges.push((*protocol, PortRange::ALL)),
            PortSpec::Range(range) => ranges.push((*protocol, *range)),
            PortSpec::Named(name) => named.push((*protocol, name.as_str())),
        }
    }
    if draft.direction == Direction::Ingress {
        // The subject receives, and its ports are known.
        ranges.extend(resolve(&named, &draft.ports));
        named.clear();
    }
    Ports { always: verdicts.intern(Verdict::ports(PortSet::new(ranges))), named }
}

/// The numbers of the named ports on a pod with these ports (semantics R7).
fn resolve(
    named: &[NamedPort<'_>],
    ports: &[&ContainerPort],
) -> impl Iterator<Item = (Protocol, PortRange)> {
    ports
        .iter()
        .filter(|it| named.contains(&named_port(it)))
        .map(|it| (it.protocol, PortRange::single(it.port)))
}

/// The block's prefix and its exceptions: host bits are masked, the exceptions are disjoint and
/// within the prefix. `None`: the exceptions cover the whole prefix (semantics R5).
pub(super) fn extent(block: &Block) -> Option<(IpNet, Vec<IpNet>)> {
    let cidr = block.cidr.trunc();
    if block.except.is_empty() {
        return Some((cidr, Vec::new()));
    }
    let except: Vec<IpNet> = block.except.iter().copied().collect();
    let mut except = IpNet::aggregate(&except);
    if except.iter().any(|prefix| prefix.contains(&cidr)) {
        return None;
    }
    except.retain(|prefix| cidr.contains(prefix));
    Some((cidr, except))
}
