//! Rows: the rules of the policies that select a pod, in terms of atoms.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_ebpf::contract::verdict::Direction;

use super::atoms::{Atoms, Name};
use super::peers::Peers;
use super::slab::{Number, Slab};
use crate::model::{
    Cluster, ContainerPort, Peer, Policy, PolicyId, PortRange, PortSpec, Protocol, Rule, SharedSet,
};
use crate::policy::compiled::{PortSet, Verdict};
use crate::policy::verdicts::{VerdictId, Verdicts};

/// What a row grants to the addresses of an atom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Term {
    /// To all of them.
    pub(super) always: VerdictId,
    /// In addition to pods with such a port (semantics R7).
    pub(super) named: BTreeSet<Name>,
}

/// The rules of one isolated direction of a pod. Equal rows are one row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Row {
    /// What every address is granted.
    pub(super) base: VerdictId,
    /// What the addresses of an atom are granted, in addition.
    pub(super) terms: BTreeMap<Number, Term>,
}

/// A row under construction. It holds a use of each of its atoms.
pub(super) struct Draft {
    pub(super) row: Row,
}

/// What rules are compiled with.
pub(super) struct Compiler<'c> {
    pub(super) cluster: &'c Cluster,
    pub(super) atoms: &'c mut Atoms,
    pub(super) peers: &'c mut Peers,
    pub(super) verdicts: &'c mut Verdicts,
}

/// The rules of a policy in this direction; `None`: it does not isolate in it.
pub(super) fn rules(policy: &Policy, direction: Direction) -> Option<&Vec<Rule>> {
    match direction {
        Direction::Ingress => policy.ingress.as_ref(),
        Direction::Egress => policy.egress.as_ref(),
    }
}

/// The number of peers, blocks, exceptions and ports in the policy's rules of this direction.
pub(super) fn names(policy: &Policy, direction: Direction) -> u64 {
    let rules = rules(policy, direction).into_iter().flatten();
    let of_peer = |peer: &Peer| match peer {
        Peer::Block(block) => 1 + block.except.len(),
        Peer::Pods { .. } => 1,
    };
    let of_rule = |rule: &Rule| rule.peers.iter().map(of_peer).sum::<usize>() + rule.ports.len();
    rules.map(of_rule).sum::<usize>() as u64
}

/// The pod's ports that the policies' ingress rules name.
pub(super) fn named_ports<'p>(
    cluster: &Cluster,
    policies: &BTreeSet<PolicyId>,
    ports: &'p SharedSet<ContainerPort>,
) -> Vec<&'p ContainerPort> {
    if ports.iter().all(|port| port.name.is_empty()) {
        return Vec::new();
    }
    let policies = policies.iter().filter_map(|it| cluster.policies.get(it));
    let rules = policies.filter_map(|it| it.ingress.as_ref()).flatten();
    let names: BTreeSet<(Protocol, &str)> = rules
        .flat_map(|rule| &rule.ports)
        .filter_map(|it| match &it.port {
            PortSpec::Named(name) => Some((it.protocol, name.as_str())),
            PortSpec::All | PortSpec::Range(_) => None,
        })
        .collect();
    ports.iter().filter(|it| names.contains(&(it.protocol, it.name.as_str()))).collect()
}

impl Compiler<'_> {
    /// The row of these policies in this direction. `ports`: the subject's that ingress rules name.
    pub(super) fn draft<'p>(
        &mut self,
        policies: impl Iterator<Item = &'p Policy>,
        direction: Direction,
        ports: &[&ContainerPort],
    ) -> Draft {
        let row = Row { base: VerdictId::DENY, terms: BTreeMap::new() };
        let mut draft = Draft { row };
        for policy in policies {
            for rule in rules(policy, direction).into_iter().flatten() {
                let granted = self.granted(rule, direction, ports);
                self.add(&mut draft, &policy.id.namespace, rule, granted);
            }
        }
        self.simplify(&mut draft);
        draft
    }

    fn granted(&mut self, rule: &Rule, direction: Direction, ports: &[&ContainerPort]) -> Term {
        if rule.ports.is_empty() {
            return Term { always: VerdictId::ALLOW, named: BTreeSet::new() };
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
        Term { always, named }
    }

    fn add(&mut self, draft: &mut Draft, namespace: &str, rule: &Rule, granted: Term) {
        if rule.peers.is_empty() {
            draft.row.base = self.verdicts.union(draft.row.base, granted.always);
            if !granted.named.is_empty() {
                let atom = self.atoms.take_every_pod();
                let term = Term { always: VerdictId::DENY, named: granted.named };
                self.grant(draft, atom, term);
            }
            return;
        }
        let mut blocks = BTreeSet::new();
        for peer in &rule.peers {
            match peer {
                Peer::Block(block) => drop(blocks.insert(block.clone())),
                Peer::Pods { namespaces, pods } => {
                    let atom = self.pods_atom(namespace, namespaces.as_ref(), pods);
                    self.grant(draft, atom, granted.clone());
                }
            }
        }
        if !blocks.is_empty() {
            // By address alone, so no name has a number (semantics R6, R7).
            let term = Term { always: granted.always, named: BTreeSet::new() };
            let atom = self.atoms.take_blocks(blocks);
            self.grant(draft, atom, term);
        }
    }

    fn pods_atom(
        &mut self,
        namespace: &str,
        namespaces: Option<&crate::model::Selector>,
        pods: &crate::model::Selector,
    ) -> Number {
        if let Some(selector) = namespaces {
            return self.atoms.take_pods(Ok(selector), pods);
        }
        // The subject's namespace stays known while the row exists.
        let space = self.peers.take_space(self.cluster, self.atoms, namespace);
        let atom = self.atoms.take_pods(Err(space), pods);
        self.peers.release_space(space);
        atom
    }

    /// Adds a term. The draft takes the use of the atom over.
    fn grant(&mut self, draft: &mut Draft, atom: Number, term: Term) {
        match draft.row.terms.get_mut(&atom) {
            Some(known) => {
                known.always = self.verdicts.union(known.always, term.always);
                known.named.extend(term.named);
                self.atoms.release(atom);
            }
            None => drop(draft.row.terms.insert(atom, term)),
        }
    }

    /// One normal form: terms that add nothing are left out.
    fn simplify(&mut self, draft: &mut Draft) {
        let base = draft.row.base;
        let Self { atoms, verdicts, .. } = self;
        draft.row.terms.retain(|atom, term| {
            let adds = verdicts.union(base, term.always) != base
                || base != VerdictId::ALLOW && !term.named.is_empty();
            if !adds {
                atoms.release(*atom);
            }
            adds
        });
    }

    /// The number of the drafted row, with one more use. Sets `renamed` if port names come into use.
    pub(super) fn intern(
        &mut self,
        rows: &mut Slab<Row>,
        draft: Draft,
        renamed: &mut bool,
    ) -> Number {
        let Draft { row } = draft;
        if let Some(number) = rows.number(&row) {
            rows.retain(number);
            row.terms.keys().for_each(|atom| self.atoms.release(*atom));
            return number;
        }
        for name in row.terms.values().flat_map(|term| &term.named) {
            *renamed |= self.atoms.take_name(name);
        }
        rows.take(row)
    }
}
