//! Atoms: the sets of addresses that rules name.

use std::collections::{BTreeMap, HashMap};

use super::blocks::BlockSet;
use super::labels::LabelIndex;
use super::slab::{Column, Number, Slab};
use crate::model::{ContainerPort, Protocol, Selector};

/// The name of a port in a rule, with its protocol.
pub(super) type Name = (Protocol, String);

/// The namespaces whose pods an atom can have (semantics R2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// The policy's own.
    Own(Number),
    /// The namespaces that the selector matches.
    Matching(Number),
}

/// A set of addresses that some rule names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Atom {
    /// The pods of these namespaces that the selector matches.
    Pods(Scope, Number),
    /// All pods.
    EveryPod,
    /// The addresses in any of these blocks.
    Blocks(BlockSet),
}

/// The atoms of all rows, each for as long as a row names it.
#[derive(Debug, Default)]
pub(super) struct Atoms {
    slab: Slab<Atom>,
    pub(super) pod_labels: LabelIndex,
    pub(super) namespace_labels: LabelIndex,
    /// By pod selector: its atoms.
    by_selector: Column<Vec<(Scope, Number)>>,
    pub(super) every_pod: Option<Number>,
    /// The live sets of blocks.
    pub(super) blocks: BTreeMap<Number, BlockSet>,
    /// The names of ports in rules that peers define, with the number of their uses.
    names: HashMap<Name, u32>,
}

/// What the rows' changes mean for pods' atoms.
#[derive(Debug, Default)]
pub(super) struct AtomChanges {
    /// Scopes and pod selectors of atoms that are new or gone.
    pub(super) pods: Vec<(Scope, Number)>,
    /// All groups are concerned.
    pub(super) every_pod: bool,
    /// The sets of blocks have changed.
    pub(super) blocks: bool,
}

impl Atoms {
    /// The atom of these pods, with one more use. `own`: takes the use of the namespace over.
    pub(super) fn take_pods(
        &mut self,
        namespaces: Result<&Selector, Number>,
        pods: &Selector,
    ) -> Number {
        let scope = match namespaces {
            Ok(selector) => Scope::Matching(self.namespace_labels.take_selector(selector)),
            Err(own) => Scope::Own(own),
        };
        let selector = self.pod_labels.take_selector(pods);
        let atom = Atom::Pods(scope, selector);
        let known = self.slab.number(&atom).is_some();
        let number = self.slab.take(atom);
        if known {
            self.release_parts(scope, selector);
        }
        number
    }

    pub(super) fn take_every_pod(&mut self) -> Number {
        self.slab.take(Atom::EveryPod)
    }

    pub(super) fn take_blocks(&mut self, blocks: BlockSet) -> Number {
        self.slab.take(Atom::Blocks(blocks))
    }

    pub(super) fn release(&mut self, atom: Number) {
        self.slab.release(atom);
    }

    /// Adds a use of a port's name. Returns whether it is the first.
    pub(super) fn take_name(&mut self, name: &Name) -> bool {
        let uses = self.names.entry(name.clone()).or_default();
        *uses += 1;
        *uses == 1
    }

    /// Ends a use of a port's name. Returns whether it was the last.
    pub(super) fn release_name(&mut self, name: &Name) -> bool {
        let Some(uses) = self.names.get_mut(name) else { return false };
        *uses -= 1;
        let last = *uses == 0;
        if last {
            self.names.remove(name);
        }
        last
    }

    /// The ports that rules name.
    pub(super) fn named(&self, ports: &[ContainerPort]) -> Vec<ContainerPort> {
        if self.names.is_empty() {
            return Vec::new();
        }
        let is_named =
            |port: &&ContainerPort| self.names.contains_key(&(port.protocol, port.name.clone()));
        ports.iter().filter(is_named).cloned().collect()
    }

    /// The atoms of the pods of a namespace with these labels, sorted.
    pub(super) fn of(&self, space: Number, space_labels: Number, labels: Number) -> Vec<Number> {
        let spaces = self.namespace_labels.matching(space_labels);
        let is_in = |scope: &Scope| match scope {
            Scope::Own(own) => *own == space,
            Scope::Matching(selector) => spaces.binary_search(selector).is_ok(),
        };
        let selectors = self.pod_labels.matching(labels).iter();
        let atoms = selectors.filter_map(|it| self.by_selector.get(*it)).flatten();
        let mut atoms: Vec<Number> = atoms
            .filter(|(scope, _)| is_in(scope))
            .map(|(_, atom)| *atom)
            .chain(self.every_pod)
            .collect();
        atoms.sort_unstable();
        atoms
    }

    /// Adds the atoms that are new and removes those without uses. The scopes and selectors of the
    /// latter stay valid until [`Self::forget`].
    pub(super) fn collect(&mut self) -> (AtomChanges, Vec<(Scope, Number)>) {
        let mut changes = AtomChanges::default();
        let mut ended = Vec::new();
        let collected = self.slab.collect();
        for (number, atom) in collected.gone {
            match *atom {
                Atom::Pods(scope, selector) => {
                    self.by_selector.at(selector).retain(|(_, it)| *it != number);
                    changes.pods.push((scope, selector));
                    ended.push((scope, selector));
                }
                Atom::EveryPod => {
                    changes.every_pod |= self.every_pod.take_if(|it| *it == number).is_some();
                }
                Atom::Blocks(_) => changes.blocks |= self.blocks.remove(&number).is_some(),
            }
        }
        for number in collected.fresh {
            match self.slab.get(number).map(|it| (**it).clone()) {
                Some(Atom::Pods(scope, selector)) => {
                    self.by_selector.at(selector).push((scope, number));
                    changes.pods.push((scope, selector));
                }
                Some(Atom::EveryPod) => {
                    self.every_pod = Some(number);
                    changes.every_pod = true;
                }
                Some(Atom::Blocks(blocks)) => {
                    self.blocks.insert(number, blocks);
                    changes.blocks = true;
                }
                None => {}
            }
        }
        (changes, ended)
    }

    /// Forgets the selectors of ended atoms, as far as no other atom has them.
    pub(super) fn forget(&mut self, ended: &[(Scope, Number)]) {
        for (scope, selector) in ended {
            self.release_parts(*scope, *selector);
        }
        self.pod_labels.collect();
        self.namespace_labels.collect();
    }

    fn release_parts(&mut self, scope: Scope, selector: Number) {
        self.pod_labels.release_selector(selector);
        if let Scope::Matching(it) = scope {
            self.namespace_labels.release_selector(it);
        }
    }
}
