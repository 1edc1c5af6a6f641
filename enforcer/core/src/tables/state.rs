//! What the kernel holds, as far as the agent knows.

use enforcer_ebpf::contract::endpoint::Endpoint;
use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::networks::Places;
use enforcer_ebpf::contract::table::Limits;

use super::alloc::Pool;
use super::change::{Change, changes};
use super::desired::{Inherited, Owner};
use super::endpoints::Endpoints;
use super::held::Held;
use super::link::Link;
use super::ports::Ports;
use super::regions::Maps;
use super::rows::Rows;
use super::shortage::{Full, Table};
use super::sizes;
use super::trie4::Trie4;
use super::trie6::Trie6;
use super::writer::Writer;

/// What the kernel holds.
///
/// Clones share large parts, so a plan is made on a clone, which replaces the state only if the
/// plan succeeds.
#[derive(Debug, Clone)]
pub struct State {
    pub(super) limits: Limits,
    /// The number of grace periods so far.
    pub(super) epoch: u64,
    pub(super) trie4: Trie4,
    pub(super) trie6: Trie6,
    pub(super) ports: Ports,
    pub(super) rows: Rows,
    /// Peer class ids.
    pub(super) ids: Pool,
    pub(super) endpoints: Endpoints,
    /// What the last plan closed.
    pub(super) held: Held,
    /// What the kernel has of an engine's result; `None`: it has another one's.
    pub(super) link: Option<Link>,
}

impl State {
    /// The state of newly created, zeroed tables.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::with(limits, false)
    }

    /// The state of newly created tables of an agent that follows another one. Endpoint ids of the
    /// earlier agent stay assigned as far as the first plan still requires them.
    #[must_use]
    pub fn resuming(limits: Limits, inherited: &[Inherited]) -> Self {
        let endpoints = Endpoints::resuming(limits.endpoints, inherited);
        Self { endpoints, ..Self::new(limits) }
    }

    /// The same state, of tables whose IPv6 networks have their places by these secrets. Before the first
    /// plan.
    #[must_use]
    pub fn with_secrets(self, secrets: [u64; 2]) -> Self {
        let Limits { trie6_nodes, trie6_leaves, .. } = self.limits;
        let trie6 = Trie6::new(trie6_nodes, trie6_leaves, Places { secrets });
        Self { trie6, ..self }
    }

    /// The state of tables without limits, to measure the required sizes.
    pub(super) fn unlimited() -> Self {
        let all = Limits {
            trie4_blocks: Entry::INDEX,
            trie6_nodes: Entry::INDEX,
            trie6_leaves: Entry::INDEX,
            port_sets: u32::MAX,
            verdict_blocks: Entry::INDEX,
            endpoints: u32::MAX,
            flows: 0,
        };
        Self::with(all, true)
    }

    fn with(limits: Limits, unlimited: bool) -> Self {
        Self {
            limits,
            epoch: 0,
            trie4: Trie4::new(limits.trie4_blocks),
            trie6: Trie6::new(limits.trie6_nodes, limits.trie6_leaves, Places::KNOWN),
            ports: Ports::new(limits.port_sets, unlimited),
            rows: Rows::new(limits.verdict_blocks),
            // Class 0 is in use from the beginning: all addresses have it.
            ids: Pool::new(Table::Verdicts, 1, Entry::INDEX),
            endpoints: Endpoints::new(limits.endpoints),
            held: Held::default(),
            link: None,
        }
    }

    /// The records of all endpoints, each with the owner of its interface.
    pub fn endpoints(&self) -> impl Iterator<Item = (&Owner, &Endpoint)> {
        self.endpoints.records()
    }

    /// The number of elements of a table that are in use, and the table's size. What was freed
    /// counts no more, although a packet may still be reading it.
    #[must_use]
    pub fn usage(&self, table: Table) -> (u32, u32) {
        let limits = &self.limits;
        match table {
            Table::Trie4Blocks => (self.trie4.used(), limits.trie4_blocks),
            Table::Trie6Nodes => (self.trie6.used().0, limits.trie6_nodes),
            Table::Trie6Leaves => (self.trie6.used().1, limits.trie6_leaves),
            Table::PortSets => (self.ports.used().0, limits.port_sets),
            Table::PortClasses => (self.ports.used().1, sizes::PORT_CLASSES),
            Table::Verdicts => (self.rows.used(), limits.verdict_blocks),
            Table::Endpoints => (self.endpoints.len(), limits.endpoints),
            Table::Interfaces => (self.endpoints.len(), sizes::INTERFACE_SLOTS),
        }
    }

    /// One past the last element of a table that was ever in use: the size that the table must have.
    pub(super) fn high_water(&self, table: Table) -> u32 {
        match table {
            Table::Trie4Blocks => self.trie4.high_water(),
            Table::Trie6Nodes => self.trie6.high_water().0,
            Table::Trie6Leaves => self.trie6.high_water().1,
            Table::PortSets => self.ports.high_water().0,
            Table::PortClasses => self.ports.high_water().1,
            Table::Verdicts => self.rows.high_water(),
            Table::Endpoints | Table::Interfaces => self.endpoints.len(),
        }
    }

    /// The tries' contents: entries by address, IPv4 and IPv6.
    pub(super) fn maps(&self) -> Maps<u32> {
        [self.trie4.regions(), self.trie6.regions()]
    }

    /// Writes the differences between the tries, which hold `now`, and `maps`.
    pub(super) fn write_maps(
        &mut self,
        now: &Maps<u32>,
        maps: &Maps<u32>,
        writer: &mut Writer,
    ) -> Result<(), Full> {
        let changes = [0, 1].map(|family: usize| changes(&now[family], &maps[family]));
        self.flip(&changes, writer)
    }

    /// Writes these changes to the tries.
    pub(super) fn flip(
        &mut self,
        changes: &[Vec<Change>; 2],
        writer: &mut Writer,
    ) -> Result<(), Full> {
        if changes.iter().any(|changes| !changes.is_empty()) {
            self.endpoints.wait_for_readers(writer);
        }
        self.trie4.apply(&changes[0], writer)?;
        self.trie6.apply(&changes[1], writer)
    }
}
