//! One cluster's compiled policies, with verdicts as small numbers that two clusters share.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use enforcer_ebpf::contract::verdict::Direction;
use ipnet::IpNet;

use super::set::Opened;
use crate::model::{Cluster, Pod};
use crate::policy::{Column, Compiled, PortSet, RowId, Verdict, compile};

/// A verdict in [`Numbers`]; equal numbers are equal verdicts.
pub(in crate::explain) type Number = u32;

/// Everything: not isolated, or allowed by policy.
pub(in crate::explain) const EVERYTHING: Number = 1;

/// The sets that a connection has at the sender and at the receiver.
pub(in crate::explain) type Ends = (Number, Number);

/// The verdicts of one or more clusters, each once.
#[derive(Debug)]
pub(in crate::explain) struct Numbers {
    sets: Vec<Opened>,
    by_set: HashMap<Arc<PortSet>, Number>,
}

impl Numbers {
    pub(in crate::explain) fn new() -> Self {
        Self { sets: vec![Opened::default(), Opened::everything()], by_set: HashMap::new() }
    }

    pub(in crate::explain) fn set(&self, number: Number) -> &Opened {
        // Every number was given out below.
        &self.sets[number as usize]
    }

    /// What both ends allow.
    pub(in crate::explain) fn allowed(&self, (sender, receiver): Ends) -> Opened {
        self.set(sender).intersection(self.set(receiver))
    }

    /// What at least one pair of addresses allows.
    pub(in crate::explain) fn any(&self, ends: &[Ends]) -> Opened {
        ends.iter().fold(Opened::default(), |sum, it| sum.union(&self.allowed(*it)))
    }

    fn intern(&mut self, verdict: &Verdict) -> Number {
        match verdict {
            Verdict::Deny => 0,
            Verdict::Allow => EVERYTHING,
            Verdict::Ports(set) => {
                if let Some(known) = self.by_set.get(set) {
                    return *known;
                }
                let number = Number::try_from(self.sets.len()).unwrap_or(Number::MAX);
                self.sets.push(Opened::allowed(verdict));
                self.by_set.insert(Arc::clone(set), number);
                number
            }
        }
    }
}

/// A pod as policy sees it: pods with equal classes have equal verdicts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::explain) struct Class {
    ingress: Option<RowId>,
    egress: Option<RowId>,
    /// The family (IPv6?) and the column of each address.
    columns: Vec<(bool, Column)>,
}

impl Class {
    /// The families of its addresses (IPv6?), and their columns.
    pub(in crate::explain) fn columns(&self) -> &[(bool, Column)] {
        &self.columns
    }
}

/// A compiled cluster.
#[derive(Debug)]
pub(in crate::explain) struct Classes {
    compiled: Compiled,
    numbers: Vec<Vec<Number>>,
}

impl Classes {
    /// Compiles the policies for all pods.
    pub(in crate::explain) fn new(cluster: &Cluster, numbers: &mut Numbers) -> Self {
        let compiled = compile(cluster, &cluster.pods.keys().cloned().collect());
        // The compiler shares equal sets, so that most are found by their place in memory.
        let mut places: HashMap<*const PortSet, Number> = HashMap::new();
        let mut number = |verdict: &Verdict| match verdict {
            Verdict::Deny | Verdict::Allow => numbers.intern(verdict),
            Verdict::Ports(set) => {
                *places.entry(Arc::as_ptr(set)).or_insert_with(|| numbers.intern(verdict))
            }
        };
        let rows = compiled.rows.iter();
        let rows = rows.map(|row| row.verdicts.iter().map(&mut number).collect()).collect();
        Self { numbers: rows, compiled }
    }

    /// The pod's class; `None`: it is no subject (semantics S1).
    pub(in crate::explain) fn class(&self, pod: &Pod) -> Option<Class> {
        let policy = self.compiled.pods.get(&pod.id)?;
        let column = |it: &IpAddr| (it.is_ipv6(), self.compiled.column(*it));
        let mut columns: Vec<_> = pod.addresses.iter().map(column).collect();
        columns.sort_unstable();
        columns.dedup();
        Some(Class { ingress: policy.ingress, egress: policy.egress, columns })
    }

    /// The class of addresses that no pod has.
    pub(in crate::explain) fn outside(&self, addresses: &[IpAddr]) -> Class {
        let column = |it: &IpAddr| (it.is_ipv6(), self.compiled.column(*it));
        let columns: BTreeSet<_> = addresses.iter().map(column).collect();
        Class { ingress: None, egress: None, columns: columns.into_iter().collect() }
    }

    /// What both ends allow, for each pair of addresses of one family; without duplicates.
    pub(in crate::explain) fn ends(&self, from: &Class, to: &Class) -> Vec<Ends> {
        let mut found = Vec::with_capacity(1);
        for (family, source) in from.columns() {
            for (other, destination) in to.columns() {
                if family != other {
                    continue;
                }
                let ends = (
                    self.number(from, Direction::Egress, *destination),
                    self.number(to, Direction::Ingress, *source),
                );
                // Whatever else differs: everything is more than anything else.
                if ends == (EVERYTHING, EVERYTHING) {
                    return vec![ends];
                }
                if !found.contains(&ends) {
                    found.push(ends);
                }
            }
        }
        found.sort_unstable();
        found
    }

    /// What the class allows in this direction for addresses of this column.
    pub(in crate::explain) fn number(
        &self,
        class: &Class,
        direction: Direction,
        column: Column,
    ) -> Number {
        let row = match direction {
            Direction::Ingress => class.ingress,
            Direction::Egress => class.egress,
        };
        let Some(row) = row else { return EVERYTHING };
        self.numbers.get(row).and_then(|row| row.get(column)).copied().unwrap_or(0)
    }

    /// The prefixes that policies distinguish.
    pub(in crate::explain) fn prefixes(&self) -> impl Iterator<Item = &IpNet> {
        self.compiled.addresses.keys()
    }

    /// The column of the addresses that are in this prefix and in no longer one.
    pub(in crate::explain) fn column_of(&self, prefix: IpNet) -> Column {
        let addresses: &BTreeMap<IpNet, Column> = &self.compiled.addresses;
        std::iter::successors(Some(prefix), IpNet::supernet)
            .find_map(|it| addresses.get(&it))
            .copied()
            .unwrap_or(0)
    }
}
