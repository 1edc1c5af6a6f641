//! What the kernel holds, and how it gets from there to what is desired.

use std::collections::BTreeSet;
use std::sync::Arc;

use enforcer_ebpf::contract::endpoint::Endpoint;
use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::table::Limits;
use enforcer_ebpf::contract::verdict::Direction;

use super::alloc::{Pool, Writer};
use super::endpoints::{Endpoints, SPARE};
use super::goal::Goal;
use super::ports::Ports;
use super::regions::Regions;
use super::rows::Rows;
use super::shortage::{Shortage, Table};
use super::squeeze::squeeze;
use super::transition::{Homeless, advance};
use super::trie4::Trie4;
use super::trie6::Trie6;
use super::{Desired, Inherited, Owner, Step, sizes};
use crate::model::PodId;

/// A direction of a pod that could not be represented because a table is too small (semantics R9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrepresented {
    /// The pod.
    pub pod: PodId,
    /// The direction. It is closed, unless the pod's interface could not be entered at all: then
    /// it is treated like one whose pod is not known.
    pub direction: Direction,
    /// Which table, and what would help.
    pub shortage: Shortage,
    /// The same for people.
    pub reason: String,
}

/// The way from one state to the next.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// What could not be represented afterwards.
    pub unrepresented: Vec<Unrepresented>,
    /// Directions that were and will be represented, but are closed for part of the way, because
    /// the old and the new state don't fit into the tables together (semantics R9).
    pub closed_meanwhile: BTreeSet<(PodId, Direction)>,
    /// For part of the way, no address was entered, as with [`Self::addresses_lost`].
    pub addresses_lost_meanwhile: bool,
    /// Not even this node's own addresses fit into the tries: no address is entered, so none is
    /// known as the node's (semantics A2), and all isolated directions are closed.
    pub addresses_lost: Option<Shortage>,
}

/// What the kernel holds.
///
/// Large parts are shared between clones, so that a plan is made on a clone and taken over only
/// when it has succeeded.
#[derive(Debug, Clone)]
pub struct State {
    pub(super) limits: Limits,
    /// How many grace periods there have been.
    pub(super) epoch: u64,
    /// What the tries say: entries by address, IPv4 and IPv6.
    pub(super) maps: [Arc<Regions<u32>>; 2],
    pub(super) trie4: Trie4,
    pub(super) trie6: Trie6,
    pub(super) ports: Ports,
    pub(super) rows: Rows,
    /// Peer class ids.
    pub(super) ids: Pool,
    pub(super) endpoints: Endpoints,
}

impl State {
    /// The state of freshly made, zeroed tables.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::with(limits, false)
    }

    /// Freshly made tables of an agent that starts where another has left off: what it noted of
    /// endpoints goes on, as far as the first plan still wants it.
    #[must_use]
    pub fn resuming(limits: Limits, inherited: &[Inherited]) -> Self {
        let endpoints = Endpoints::resuming(limits.endpoints, inherited);
        Self { endpoints, ..Self::new(limits) }
    }

    /// Tables without limits, to find out what is needed.
    pub(super) fn unlimited() -> Self {
        let all = Limits {
            trie4_blocks: Entry::INDEX,
            trie6_nodes: Entry::INDEX,
            trie6_leaves: Entry::INDEX,
            port_sets: u32::MAX,
            verdict_blocks: Entry::INDEX,
            endpoints: u32::MAX,
            flows: 0,
            opening_flows: 0,
        };
        Self::with(all, true)
    }

    fn with(limits: Limits, unlimited: bool) -> Self {
        let unknown = || Arc::new(Regions::uniform(Entry::UNKNOWN.0));
        Self {
            limits,
            epoch: 0,
            maps: [unknown(), unknown()],
            trie4: Trie4::new(limits.trie4_blocks),
            trie6: Trie6::new(limits.trie6_nodes, limits.trie6_leaves),
            ports: Ports::new(limits.port_sets, unlimited),
            rows: Rows::new(limits.verdict_blocks),
            // Class 0 is in use from the beginning: all addresses have it.
            ids: Pool::starting(Table::Verdicts, 0, 1, Entry::INDEX),
            endpoints: Endpoints::new(limits.endpoints),
        }
    }

    /// The steps from here to `desired`; afterwards this is the state that they lead to.
    ///
    /// Between any two steps each (interface, direction, address, protocol, port) has the verdict
    /// of before or of after (semantics C1), but for [`Plan::closed_meanwhile`].
    pub fn plan(&mut self, desired: &Desired) -> Plan {
        let goal = Goal { desired, closed: &BTreeSet::new() };
        let mut next = self.clone();
        let mut writer = Writer::new(self.epoch);
        match advance(&mut next, &goal, &mut writer) {
            Ok(homeless) => {
                next.epoch = writer.epoch;
                *self = next;
                let unrepresented = self.homeless(desired, &homeless);
                Plan { steps: writer.steps, unrepresented, ..Plan::default() }
            }
            Err(_) => squeeze(self, desired),
        }
    }

    /// The endpoint records that interfaces have, with who is behind each.
    pub fn endpoints(&self) -> impl Iterator<Item = (&Owner, &Endpoint)> {
        self.endpoints.records()
    }

    /// How many elements of a table have ever been in use, and how many there are.
    #[must_use]
    pub fn usage(&self, table: Table) -> (u32, u32) {
        let limits = &self.limits;
        match table {
            Table::Trie4Blocks => (self.trie4.high_water(), limits.trie4_blocks),
            Table::Trie6Nodes => (self.trie6.high_water().0, limits.trie6_nodes),
            Table::Trie6Leaves => (self.trie6.high_water().1, limits.trie6_leaves),
            Table::PortSets => (self.ports.high_water().0, limits.port_sets),
            Table::PortClasses => (self.ports.high_water().1, sizes::PORT_CLASSES),
            Table::Verdicts => (self.rows.high_water(), limits.verdict_blocks),
            Table::Endpoints => (self.endpoints.len(), limits.endpoints),
            Table::Interfaces => (self.endpoints.len(), sizes::INTERFACE_SLOTS),
        }
    }

    /// Reports the interfaces that could not be entered.
    pub(super) fn homeless(&self, desired: &Desired, homeless: &Homeless) -> Vec<Unrepresented> {
        let interfaces = u32::try_from(desired.interfaces.len()).unwrap_or(u32::MAX);
        let mut unrepresented = Vec::new();
        for (ifindex, table) in homeless {
            let Some(interface) = desired.interfaces.get(ifindex) else { continue };
            let needed = interfaces + if *table == Table::Endpoints { SPARE } else { 0 };
            let shortage = Shortage { table: *table, limit: self.usage(*table).1, needed };
            let Some(pod) = interface.owner.pod() else { continue };
            for direction in Direction::ALL {
                unrepresented.push(Unrepresented {
                    pod: pod.clone(),
                    direction,
                    shortage,
                    reason: format!("interface {ifindex} has no endpoint: {shortage}"),
                });
            }
        }
        unrepresented
    }
}
