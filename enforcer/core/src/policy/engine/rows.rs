//! Rows: the rules of the policies that select a pod, in terms of atoms.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_ebpf::contract::verdict::Direction;

use super::sketch::{Compiler, Named, Sketch, Term, rules};
use super::slab::{Number, Slab};
use crate::model::{
    Cluster, ContainerPort, Peer, Policy, PolicyId, PortSpec, Protocol, Rule, SharedSet,
};
use crate::policy::verdicts::VerdictId;

/// The rules of one isolated direction of a pod. Equal rows are one row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Row {
    /// What every address is granted.
    pub(super) base: VerdictId,
    /// What the addresses of an atom are granted, in addition.
    pub(super) terms: BTreeMap<Number, Term>,
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

impl<'c> Compiler<'c, '_> {
    /// The number of the sketched row, with one more use. Sets `renamed` if port names come into use.
    pub(super) fn intern(
        &mut self,
        rows: &mut Slab<Row>,
        sketch: &Sketch<'c>,
        renamed: &mut bool,
    ) -> Number {
        let terms = sketch.terms.iter().map(|it| (self.atom(&it.set), it.term.clone()));
        let row = Row { base: sketch.base, terms: terms.collect() };
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

    /// The atom of a set of addresses, with one more use.
    fn atom(&mut self, set: &Named<'c>) -> Number {
        match set {
            Named::Own(namespace, pods) => {
                // The subject's namespace stays known while the row exists.
                let space = self.peers.take_space(self.cluster, self.atoms, namespace);
                let atom = self.atoms.take_pods(Err(space), pods);
                self.peers.release_space(space);
                atom
            }
            Named::Matching(namespaces, pods) => self.atoms.take_pods(Ok(namespaces), pods),
            Named::EveryPod => self.atoms.take_every_pod(),
            Named::Block(_) | Named::Blocks(_) => {
                let blocks = set.blocks().iter().map(|it| (*it).clone());
                self.atoms.take_blocks(SharedSet::from_sorted(blocks.collect()))
            }
        }
    }
}
