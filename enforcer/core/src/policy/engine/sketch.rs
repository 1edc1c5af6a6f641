//! Sketches: the rules of the policies that select a pod, in terms of what they name.
//!
//! What a row needs of the node is known from its sketch ([`super::shares`]), so that a row that its
//! namespace can't afford costs a sketch and no more. The others become rows ([`super::rows`]).

use std::collections::{BTreeSet, HashMap};

use enforcer_ebpf::contract::verdict::Direction;

use super::atoms::{Atoms, Name};
use super::peers::Peers;
use crate::model::{
    Block, Cluster, ContainerPort, Peer, Policy, PortRange, PortRule, PortSpec, Rule, Selector,
};
use crate::policy::compiled::{PortSet, Verdict};
use crate::policy::verdicts::{VerdictId, Verdicts};

/// A set of addresses, as rules name it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Named<'c> {
    /// The pods of this namespace that the selector matches.
    Own(&'c str, &'c Selector),
    /// The pods that the second selector matches, of the namespaces that the first one matches.
    Matching(&'c Selector, &'c Selector),
    /// All pods.
    EveryPod,
    /// The addresses in the block.
    Block(&'c Block),
    /// The addresses in any of these blocks, which are several, distinct and in order.
    Blocks(Vec<&'c Block>),
}

impl<'c> Named<'c> {
    /// The blocks; none, if the set is one of pods.
    pub(super) fn blocks(&self) -> &[&'c Block] {
        match self {
            Named::Block(block) => std::slice::from_ref(block),
            Named::Blocks(blocks) => blocks,
            Named::Own(..) | Named::Matching(..) | Named::EveryPod => &[],
        }
    }
}

/// What is granted to the addresses of a set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Term {
    /// To all of them.
    pub(super) always: VerdictId,
    /// In addition to pods with such a port (semantics R7).
    pub(super) named: BTreeSet<Name>,
}

/// A term, and the set of addresses that it is about.
#[derive(Debug)]
pub(super) struct Sketched<'c> {
    /// The same for equal sets.
    pub(super) identity: u64,
    pub(super) set: Named<'c>,
    pub(super) term: Term,
}

/// The rules of one isolated direction of a pod.
#[derive(Debug)]
pub(super) struct Sketch<'c> {
    /// What every address is granted.
    pub(super) base: VerdictId,
    /// What the addresses of distinct sets are granted, in addition.
    pub(super) terms: Vec<Sketched<'c>>,
}

/// The verdicts of lists of ports without names.
pub(super) type Granted<'c> = HashMap<&'c [PortRule], VerdictId>;

/// What rules are compiled with.
pub(super) struct Compiler<'c, 'e> {
    pub(super) cluster: &'c Cluster,
    pub(super) atoms: &'e mut Atoms,
    pub(super) peers: &'e mut Peers,
    pub(super) verdicts: &'e mut Verdicts,
    pub(super) granted: Granted<'c>,
}

/// The rules of a policy in this direction; `None`: it does not isolate in it.
pub(super) fn rules(policy: &Policy, direction: Direction) -> Option<&Vec<Rule>> {
    match direction {
        Direction::Ingress => policy.ingress.as_ref(),
        Direction::Egress => policy.egress.as_ref(),
    }
}

impl<'c> Sketch<'c> {
    fn grant(&mut self, verdicts: &Verdicts, set: Named<'c>, term: Term) {
        self.terms.push(Sketched { identity: verdicts.fingerprint(&set), set, term });
    }
}

impl<'c> Compiler<'c, '_> {
    /// The sketch of these policies in this direction. `ports`: the subject's that ingress rules name.
    pub(super) fn sketch(
        &mut self,
        policies: impl Iterator<Item = &'c Policy>,
        direction: Direction,
        ports: &[&ContainerPort],
    ) -> Sketch<'c> {
        let mut sketch = Sketch { base: VerdictId::DENY, terms: Vec::new() };
        for policy in policies {
            let rules = rules(policy, direction).map_or(&[][..], Vec::as_slice);
            sketch.terms.reserve(rules.len());
            for rule in rules {
                let granted = self.granted(rule, direction, ports);
                self.add(&mut sketch, &policy.id.namespace, rule, granted);
            }
        }
        self.simplify(&mut sketch);
        sketch
    }

    fn granted(&mut self, rule: &'c Rule, direction: Direction, ports: &[&ContainerPort]) -> Term {
        if rule.ports.is_empty() {
            return Term { always: VerdictId::ALLOW, named: BTreeSet::new() };
        }
        let has_names = rule.ports.iter().any(|it| matches!(it.port, PortSpec::Named(_)));
        if !has_names && let Some(always) = self.granted.get(&*rule.ports) {
            return Term { always: *always, named: BTreeSet::new() };
        }
        let mut ranges = Vec::new();
        let mut named = BTreeSet::new();
        for entry in &rule.ports {
            match &entry.port {
                PortSpec::All => ranges.push((entry.protocol, PortRange::ALL)),
                PortSpec::Range(range) => ranges.push((entry.protocol, *range)),
                // The subject receives, and its ports are known.
                PortSpec::Named(name) if direction == Direction::Ingress => {
                    let own =
                        ports.iter().filter(|it| it.protocol == entry.protocol && it.name == *name);
                    ranges.extend(own.map(|it| (it.protocol, PortRange::single(it.port))));
                }
                PortSpec::Named(name) => drop(named.insert((entry.protocol, name.clone()))),
            }
        }
        let always = self.verdicts.intern(Verdict::ports(PortSet::new(ranges)));
        if !has_names {
            self.granted.insert(&rule.ports, always);
        }
        Term { always, named }
    }

    fn add(&mut self, sketch: &mut Sketch<'c>, namespace: &'c str, rule: &'c Rule, granted: Term) {
        if rule.peers.is_empty() {
            sketch.base = self.verdicts.union(sketch.base, granted.always);
            if !granted.named.is_empty() {
                let term = Term { always: VerdictId::DENY, named: granted.named };
                sketch.grant(self.verdicts, Named::EveryPod, term);
            }
            return;
        }
        let mut blocks = Vec::new();
        for peer in &rule.peers {
            match peer {
                Peer::Block(block) => blocks.push(block),
                Peer::Pods { namespaces: None, pods } => {
                    sketch.grant(self.verdicts, Named::Own(namespace, pods), granted.clone());
                }
                Peer::Pods { namespaces: Some(namespaces), pods } => {
                    let set = Named::Matching(namespaces, pods);
                    sketch.grant(self.verdicts, set, granted.clone());
                }
            }
        }
        if !blocks.is_empty() {
            blocks.sort_unstable();
            blocks.dedup();
            // By address alone, so no name has a number (semantics R6, R7).
            let term = Term { always: granted.always, named: BTreeSet::new() };
            let set =
                if let [block] = blocks[..] { Named::Block(block) } else { Named::Blocks(blocks) };
            sketch.grant(self.verdicts, set, term);
        }
    }

    /// One normal form: a term for each set, without those that add nothing.
    fn simplify(&mut self, sketch: &mut Sketch<'c>) {
        let verdicts = &mut *self.verdicts;
        let key = |it: &Sketched<'c>| it.identity;
        sketch.terms.sort_unstable_by(|one, two| {
            key(one).cmp(&key(two)).then_with(|| one.set.cmp(&two.set))
        });
        sketch.terms.dedup_by(|next, kept| {
            let is_same = next.identity == kept.identity && next.set == kept.set;
            if is_same {
                kept.term.always = verdicts.union(kept.term.always, next.term.always);
                kept.term.named.append(&mut next.term.named);
            }
            is_same
        });
        let base = sketch.base;
        sketch.terms.retain(|it| {
            verdicts.union(base, it.term.always) != base
                || base != VerdictId::ALLOW && !it.term.named.is_empty()
        });
    }
}
