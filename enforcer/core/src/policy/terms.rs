//! Which peers the rows' rules name, and with which ports.

use std::collections::{BTreeMap, HashMap};

use enforcer_ebpf::contract::verdict::Direction;
use ipnet::IpNet;

use super::grants::{DraftRow, GrantId, Grants};
use super::selectors::{SelectorId, SelectorIndex, SelectorTable};
use super::subjects::{Draft, Subjects};
use super::verdicts::{VerdictId, Verdicts};
use super::{PortSet, Verdict};
use crate::model::{
    Block, ContainerPort, Peer, PortRange, PortRule, PortSpec, Protocol, Rule, Selector,
};

/// A named port that only the receiving pod can turn into a number (semantics R7).
pub(super) type NamedPort<'a> = (Protocol, &'a str);

/// In which namespaces a peer entry looks for pods (semantics R2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Scope<'a> {
    /// The policy's own.
    Own(&'a str),
    /// Those that the selector matches.
    Matching(SelectorId),
}

/// What some rules of one row grant the pods of one peer entry.
#[derive(Debug, Clone)]
pub(super) struct Term<'a> {
    pub(super) row: DraftRow,
    /// Whatever pod it is.
    pub(super) always: VerdictId,
    /// On top, where the pod has such a port.
    pub(super) named: Vec<NamedPort<'a>>,
}

/// Index of a distinct peer entry for pods: scope and pod selector.
pub(super) type MatcherId = usize;

/// All that the rows' rules say of peers.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    pub(super) namespace_selectors: SelectorIndex<'a>,
    pub(super) pod_selectors: SelectorIndex<'a>,
    /// The matchers of each scope, with their pod selectors, sorted.
    pub(super) scopes: HashMap<Scope<'a>, Vec<(SelectorId, MatcherId)>>,
    /// What the pods of each matcher are granted.
    pub(super) matchers: Vec<Vec<Term<'a>>>,
    /// What every pod is granted for its named ports alone: rules without peers.
    pub(super) every_pod: Vec<Term<'a>>,
    /// What the addresses of each distinct block are granted.
    pub(super) blocks: Vec<(&'a Block, GrantId)>,
}

/// What a rule's ports allow: at once, and by names that the peer resolves.
struct Ports<'a> {
    always: VerdictId,
    named: Vec<NamedPort<'a>>,
}

#[derive(Default)]
struct Collector<'a> {
    namespace_selectors: SelectorTable<'a>,
    pod_selectors: SelectorTable<'a>,
    matcher_ids: HashMap<(Scope<'a>, SelectorId), MatcherId>,
    matchers: Vec<Vec<Term<'a>>>,
    every_pod: Vec<Term<'a>>,
    blocks: BTreeMap<&'a Block, Vec<(DraftRow, VerdictId)>>,
    base: Vec<VerdictId>,
}

/// Reads the rows' rules.
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
            // Every address (semantics R1); those of pods by their named ports as well.
            self.base[row] = verdicts.union(self.base[row], ports.always);
            if !ports.named.is_empty() {
                let named = ports.named.clone();
                self.every_pod.push(Term { row, always: VerdictId::DENY, named });
            }
        }
        for peer in &rule.peers {
            match peer {
                // By address alone, so that names resolve nowhere (semantics R6, R7).
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
        let next = self.matchers.len();
        let key = (scope, self.pod_selectors.intern(pods));
        let matcher = *self.matcher_ids.entry(key).or_insert(next);
        if matcher == next {
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
        for ((scope, selector), matcher) in self.matcher_ids {
            scopes.entry(scope).or_default().push((selector, matcher));
        }
        for matchers in scopes.values_mut() {
            matchers.sort_unstable();
        }
        let terms = Terms {
            namespace_selectors: self.namespace_selectors.finish(),
            pod_selectors: self.pod_selectors.finish(),
            scopes,
            matchers: self.matchers,
            every_pod: self.every_pod,
            blocks,
        };
        (terms, grants)
    }
}

/// What the rule's ports allow (semantics R1, R7, R8).
fn ports<'a>(rule: &'a Rule, draft: &Draft<'a>, verdicts: &mut Verdicts) -> Ports<'a> {
    if rule.ports.is_empty() {
        return Ports { always: VerdictId::ALLOW, named: Vec::new() };
    }
    let mut ranges = Vec::new();
    let mut named = Vec::new();
    for PortRule { protocol, port } in &rule.ports {
        match port {
            PortSpec::All => ranges.push((*protocol, PortRange { first: 0, last: u16::MAX })),
            PortSpec::Range(range) => ranges.push((*protocol, *range)),
            PortSpec::Named(name) => named.push((*protocol, name.as_str())),
        }
    }
    if draft.direction == Direction::Ingress {
        // The receiving pod is the subject: its numbers are known.
        ranges.extend(resolve(&named, &draft.ports));
        named.clear();
    }
    Ports { always: verdicts.intern(Verdict::ports(PortSet::new(ranges))), named }
}

/// The numbers of the named ports on a pod that has these (semantics R7).
fn resolve(
    named: &[NamedPort<'_>],
    ports: &[&ContainerPort],
) -> impl Iterator<Item = (Protocol, PortRange)> {
    ports
        .iter()
        .filter(|it| named.contains(&(it.protocol, it.name.as_str())))
        .map(|it| (it.protocol, PortRange { first: it.port, last: it.port }))
}

/// The block's prefix and its exceptions, with host bits masked, the exceptions disjoint and
/// within the prefix; `None`: they leave nothing of it (semantics R5).
pub(super) fn extent(block: &Block) -> Option<(IpNet, Vec<IpNet>)> {
    let cidr = block.cidr.trunc();
    let except: Vec<IpNet> = block.except.iter().copied().collect();
    let mut except = IpNet::aggregate(&except);
    if except.iter().any(|prefix| prefix.contains(&cidr)) {
        return None;
    }
    except.retain(|prefix| cidr.contains(prefix));
    Some((cidr, except))
}
