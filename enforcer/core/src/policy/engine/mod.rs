//! The compiler that works in proportion to the change.
//!
//! [`Engine`] has the result of [`super::compile()`] in another form, and keeps it up to date:
//!
//! ```text
//! labels   selectors × label sets: each pair is evaluated once
//! sketch   the rules of a subject's policies, as terms: what they name, ports
//! shares   which of these a node can't afford, before anything is made of them
//! rows     the terms of the others, as atoms with ports
//! atoms    the sets of addresses that terms name: pods by labels, blocks
//! peers    pods in groups that are alike in namespace, labels, ports ─► signatures: lists of atoms
//! blocks   regions of addresses that are in the same sets of blocks
//! hosts    addresses, with a class each: its region's blocks, its pods' signatures
//! ```
//! A row's verdict for a class follows from the terms whose atoms the class has. Atoms are there for
//! as long as a row names them, so classes distinguish what rows need, and no more. A change visits
//! only what it names: a pod its addresses, a policy the rows of the local pods that it selects, a new
//! atom the label sets that it matches.
//!
//! [`super::compile()`] stays the readable definition; tests compare the two after every step of
//! random histories.

mod atoms;
mod audits;
mod blocks;
mod delta;
mod hosts;
mod labels;
mod materialize;
mod peers;
mod rows;
mod seen;
mod selecting;
mod shares;
mod sketch;
mod slab;
mod subjects;
mod touched;

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::net::IpAddr;

use enforcer_ebpf::contract::table::Limits;
use enforcer_ebpf::contract::verdict::Direction;

use self::atoms::Atoms;
use self::audits::Audits;
use self::blocks::{Regions, last_of};
use self::hosts::Hosts;
use self::peers::Peers;
use self::shares::Budget;
use self::subjects::Subjects;
use super::compiled::{PortSet, Verdict};
use super::verdicts::{VerdictId, Verdicts};
use crate::model::{Cluster, ContainerPort, PodId, PortRange, ServiceId};

pub use self::delta::{Delta, Kind, Move, Target};
pub use self::shares::{Excess, Resource};
pub use self::slab::Number;
pub use self::subjects::Judge;
pub use self::touched::Touched;

/// A Service's addresses: those of its cluster, and those that tenants chose.
type Addresses = [BTreeSet<IpAddr>; 2];

/// The verdicts of a row for some classes.
#[derive(Debug)]
pub(crate) struct Grants {
    pub(crate) row: Number,
    /// For all classes but these.
    pub(crate) base: VerdictId,
    pub(crate) classes: Vec<(Number, VerdictId)>,
}

/// The verdicts of all local subjects for all addresses, kept up to date.
#[derive(Debug)]
pub struct Engine {
    version: u64,
    verdicts: Verdicts,
    atoms: Atoms,
    peers: Peers,
    regions: Regions,
    hosts: Hosts,
    subjects: Subjects,
    services: HashMap<ServiceId, Addresses>,
    node_addresses: BTreeSet<IpAddr>,
    audits: Audits,
}

impl Default for Engine {
    fn default() -> Self {
        Self::with(Limits::DEFAULT)
    }
}

impl Engine {
    /// The engine of an empty cluster, for tables of these sizes.
    #[must_use]
    pub fn with(limits: Limits) -> Self {
        Self {
            version: 0,
            verdicts: Verdicts::new(),
            atoms: Atoms::default(),
            peers: Peers::default(),
            regions: Regions::default(),
            hosts: Hosts::default(),
            subjects: Subjects::new(Budget::new(limits)),
            services: HashMap::new(),
            node_addresses: BTreeSet::new(),
            audits: Audits::default(),
        }
    }

    /// The engine of this cluster, and the way there from nothing.
    #[must_use]
    pub fn new(cluster: &Cluster, local: &BTreeSet<PodId>) -> (Self, Delta) {
        let mut engine = Self::default();
        let delta = engine.update(cluster, &Touched::all(cluster), local);
        (engine, delta)
    }

    /// Brings the result up to date. `touched`: what may have changed in the cluster since the last
    /// time; `local`: this node's pods.
    pub fn update(
        &mut self,
        cluster: &Cluster,
        touched: &Touched,
        local: &BTreeSet<PodId>,
    ) -> Delta {
        let touched = &*self.audits.with_policies(cluster, touched);
        // Nobody keeps a verdict's number from one update to the next, apart from rows.
        self.verdicts.collect(|| self.subjects.verdicts());
        for name in &touched.namespaces {
            self.peers.relabel(cluster, &mut self.atoms, name);
        }
        for pod in &touched.pods {
            let hosts = &mut self.hosts;
            let mut own = |address, pod, is_there| hosts.own(address, pod, is_there);
            self.peers.pod(cluster, &mut self.atoms, pod, &mut own);
        }
        self.note_services(cluster, touched);
        let mut compiler = sketch::Compiler {
            cluster,
            atoms: &mut self.atoms,
            peers: &mut self.peers,
            verdicts: &mut self.verdicts,
            granted: HashMap::new(),
        };
        let renamed = self.subjects.update(&mut compiler, touched, local);
        self.finish(renamed)
    }

    /// From rows to classes.
    fn finish(&mut self, mut renamed: bool) -> Delta {
        let rows = self.subjects.collect(&mut self.atoms, &mut renamed);
        let (mut changes, ended) = self.atoms.collect();
        changes.every_pod |= renamed;
        self.peers.concern(&self.atoms, &changes);
        let hosts = &mut self.hosts;
        self.peers.sign(&self.atoms, &mut |address| hosts.touch(address));
        let changed = match changes.blocks {
            true => self.regions.set(&self.atoms.blocks),
            false => Default::default(),
        };
        let moves = self.hosts.flush(&self.peers, &mut self.regions, &changed);
        let classes = self.hosts.collect();
        self.peers.collect(&mut self.atoms);
        self.atoms.forget(&ended);
        self.version += 1;
        Delta {
            version: self.version,
            moves,
            fresh_classes: classes.fresh,
            gone_classes: classes.gone.into_iter().map(|(class, _)| class).collect(),
            fresh_rows: rows.fresh,
            gone_rows: rows.gone.into_iter().map(|(row, _)| row).collect(),
        }
    }

    fn note_services(&mut self, cluster: &Cluster, touched: &Touched) {
        for id in &touched.services {
            let new: Addresses = cluster
                .services
                .get(id)
                .map(|it| [it.cluster_addresses.clone(), it.external_addresses.clone()])
                .unwrap_or_default();
            let old = match new.iter().all(BTreeSet::is_empty) {
                true => self.services.remove(id),
                false => self.services.insert(id.clone(), new.clone()),
            };
            for (addresses, more) in [(new, true), (old.unwrap_or_default(), false)] {
                let [inner, external] = &addresses;
                let external_kind = Kind(Kind::SERVICE.0 | Kind::EXTERNAL.0);
                inner.iter().for_each(|it| self.hosts.count(*it, Kind::SERVICE, more));
                external.iter().for_each(|it| self.hosts.count(*it, external_kind, more));
            }
        }
        if self.node_addresses != cluster.node_addresses {
            let old = std::mem::replace(&mut self.node_addresses, cluster.node_addresses.clone());
            let new = self.node_addresses.clone();
            new.difference(&old).for_each(|it| self.hosts.count(*it, Kind::NODE, true));
            old.difference(&new).for_each(|it| self.hosts.count(*it, Kind::NODE, false));
        }
    }

    /// The number of the current result. Each [`Delta`] leads from one to the next.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How a local pod is judged by direction, ingress first; `None`: no subject.
    #[must_use]
    pub fn judges(&self, pod: &PodId) -> Option<[Judge; 2]> {
        self.subjects.judges(pod)
    }

    /// The directions of pods that are closed because their namespace needs more than its share
    /// (semantics R9).
    pub fn excess(&self) -> impl Iterator<Item = (&PodId, Direction, Excess)> {
        self.subjects.excess()
    }

    /// The verdict of a row for a class.
    pub(crate) fn verdict(&mut self, row: Number, class: Number) -> VerdictId {
        let Self { subjects, hosts, regions, peers, verdicts, .. } = self;
        let (Some(row), Some(class)) = (subjects.row(row), hosts.class(class)) else {
            return VerdictId::DENY;
        };
        if row.base == VerdictId::ALLOW {
            return row.base;
        }
        let mut granted = Vec::with_capacity(8);
        granted.push(row.base);
        let blocks = regions.members(class.list).iter();
        granted.extend(blocks.filter_map(|it| row.terms.get(it)).map(|term| term.always));
        for signature in class.signatures.iter().filter_map(|it| peers.signature(*it)) {
            for term in signature.atoms.iter().filter_map(|it| row.terms.get(it)) {
                granted.push(term.always);
                let is_named = |port: &&ContainerPort| {
                    !term.named.is_empty()
                        && term.named.contains(&(port.protocol, port.name.clone()))
                };
                for port in signature.ports.iter().filter(is_named) {
                    let set = PortSet::new([(port.protocol, PortRange::single(port.port))]);
                    granted.push(verdicts.intern(Verdict::ports(set)));
                }
            }
        }
        verdicts.union_all(granted)
    }

    /// The verdicts of rows for classes, as far as they are not that for every address.
    pub(crate) fn grants(&mut self, rows: &[Number], classes: &[Number]) -> Vec<Grants> {
        // Atoms, each with the rows that name it.
        let mut of_atom: Vec<(Number, usize)> = Vec::new();
        let mut grants = Vec::with_capacity(rows.len());
        for (at, number) in rows.iter().enumerate() {
            let row = self.subjects.row(*number);
            let base = row.map_or(VerdictId::DENY, |row| row.base);
            of_atom
                .extend(row.into_iter().flat_map(|row| row.terms.keys()).map(|atom| (*atom, at)));
            grants.push(Grants { row: *number, base, classes: Vec::new() });
        }
        // Each row's are in order.
        of_atom.sort();
        let mut named: Vec<usize> = Vec::new();
        for &number in classes {
            let Some(class) = self.hosts.class(number) else { continue };
            let signatures = class.signatures.iter().filter_map(|it| self.peers.signature(*it));
            let atoms = signatures.flat_map(|it| &it.atoms).chain(self.regions.members(class.list));
            named.clear();
            for atom in atoms {
                let first = of_atom.partition_point(|it| it.0 < *atom);
                let rows = of_atom.iter().skip(first).take_while(|it| it.0 == *atom);
                named.extend(rows.map(|it| it.1));
            }
            named.sort_unstable();
            named.dedup();
            for &at in &named {
                let verdict = self.verdict(rows[at], number);
                grants[at].classes.push((number, verdict));
            }
        }
        grants
    }

    /// The verdict of a number that [`Self::verdict`] returned.
    pub(crate) fn known_verdict(&self, verdict: VerdictId) -> &Verdict {
        self.verdicts.get(verdict)
    }

    /// The rows in use.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Number> {
        self.subjects.rows()
    }

    /// The classes in use.
    pub(crate) fn classes(&self) -> impl Iterator<Item = Number> {
        self.hosts.classes().map(|(class, _)| class)
    }

    /// What holds for the addresses of one family from each point on, in order. Neighbours may be alike.
    pub(crate) fn points(&self, family: usize) -> Vec<(u128, Target)> {
        let around = |list: Number| {
            let class = self.hosts.class_of_list(list);
            Target { class, kind: Kind::default() }
        };
        let mut points = Vec::new();
        let mut hosts = self.hosts.of(family).peekable();
        for (first, last, list) in self.regions.ranges(family) {
            points.push((first, around(list)));
            while let Some((at, target)) = hosts.next_if(|(at, _)| *at <= last) {
                points.push((at, target));
                if let Some(next) = last_of((family, at)).checked_add(1).filter(|it| *it <= last) {
                    points.push((next, around(list)));
                }
            }
        }
        points
    }

    /// The pod's verdict for a peer in one direction; `None`: the pod is not isolated in it, or is
    /// no local subject.
    pub fn verdict_of(
        &mut self,
        pod: &PodId,
        direction: Direction,
        peer: IpAddr,
    ) -> Option<Verdict> {
        let row = match self.judges(pod)?[direction as usize] {
            Judge::Open => return None,
            Judge::Closed => return Some(Verdict::Deny),
            Judge::Row(row) => row,
        };
        let class = self.class_of(peer);
        let verdict = self.verdict(row, class);
        Some(self.known_verdict(verdict).clone())
    }

    /// The numbers of pods' groups, classes and rows: what the work of larger changes depends on.
    #[must_use]
    pub fn sizes(&self) -> [usize; 3] {
        [self.peers.groups(), self.hosts.len(), self.subjects.len()]
    }
}

#[cfg(test)]
mod tests;
