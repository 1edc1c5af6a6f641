//! The engine's result in the form of [`Compiled`], for explanations and tests.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use super::blocks::place;
use super::hosts::address;
use super::{Engine, Kind, Number};
use crate::interner::Interner;
use crate::policy::compiled::{Column, Compiled, PodPolicy, Row, RowId};
use crate::policy::verdicts::VerdictId;

impl Engine {
    /// The class of an address.
    pub(super) fn class_of(&self, address: IpAddr) -> Number {
        let place = place(address);
        self.hosts.target(place).map_or_else(
            || self.hosts.class_of_list(self.regions.list(place)),
            |target| target.class,
        )
    }

    /// The result as a whole. It answers as that of [`crate::policy::compile()`], but may have more
    /// prefixes.
    pub fn compiled(&mut self) -> Compiled {
        let rows: Vec<Number> = self.rows().collect();
        let mut columns: Interner<Vec<VerdictId>> = Interner::default();
        let mut of_class: BTreeMap<Number, Column> = BTreeMap::new();
        let classes: Vec<Number> = self.classes().filter(|it| *it != 0).collect();
        for class in std::iter::once(0).chain(classes) {
            let column = rows.iter().map(|row| self.verdict(*row, class)).collect();
            of_class.insert(class, columns.intern(column));
        }
        let column = |class: Number| of_class.get(&class).copied().unwrap_or(0);
        let mut compiled = Compiled { columns: columns.values().len(), ..Compiled::default() };
        for family in [0, 1] {
            for (first, last, list) in self.regions.ranges(family) {
                if list != 0 {
                    let column = column(self.hosts.class_of_list(list));
                    let nets = subnets((family, first), last);
                    compiled.addresses.extend(nets.into_iter().map(|net| (net, column)));
                }
            }
        }
        let hosts = [0, 1].into_iter().flat_map(|family| {
            self.hosts.of(family).map(move |(at, target)| ((family, at), target))
        });
        for (place, target) in hosts {
            let net = IpNet::from(address(place));
            compiled.addresses.insert(net, column(target.class));
            let kinds = [
                (Kind::NODE, &mut compiled.node_addresses),
                (Kind::SERVICE, &mut compiled.service_addresses),
                (Kind::EXTERNAL, &mut compiled.external_addresses),
            ];
            for (kind, addresses) in kinds {
                if target.kind.has(kind) {
                    addresses.insert(net);
                }
            }
        }
        self.fill_rows(&mut compiled, &rows, columns.values());
        compiled
    }

    fn fill_rows(&self, compiled: &mut Compiled, rows: &[Number], columns: &[Vec<VerdictId>]) {
        let mut distinct: Interner<Vec<VerdictId>> = Interner::default();
        let mut of_row: BTreeMap<Number, RowId> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate() {
            let verdicts = columns.iter().map(|column| column[at]).collect();
            of_row.insert(*row, distinct.intern(verdicts));
        }
        let row = |verdicts: &Vec<VerdictId>| Row {
            verdicts: verdicts.iter().map(|it| self.verdicts.get(*it).clone()).collect(),
        };
        compiled.rows = distinct.values().iter().map(row).collect();
        for (pod, rows) in self.subjects.all() {
            let [ingress, egress] = rows.map(|row| row.and_then(|it| of_row.get(&it).copied()));
            compiled.pods.insert(pod.clone(), PodPolicy { ingress, egress });
        }
    }
}

/// The prefixes that make up a range.
fn subnets((family, first): (usize, u128), last: u128) -> Vec<IpNet> {
    match (address((family, first)), address((family, last))) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            Ipv4Subnets::new(first, last, 0).map(IpNet::from).collect()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            Ipv6Subnets::new(first, last, 0).map(IpNet::from).collect()
        }
        _ => Vec::new(),
    }
}
