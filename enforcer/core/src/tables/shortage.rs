//! Tables that are too small (semantics R9).

use std::fmt;

use enforcer_ebpf::contract::table;

/// A table, or a kind of number, that can run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Blocks of the IPv4 trie.
    Trie4Blocks,
    /// Nodes of the IPv6 trie.
    Trie6Nodes,
    /// Leaves of the IPv6 trie.
    Trie6Leaves,
    /// Port sets.
    PortSets,
    /// Port classes; their number is fixed.
    PortClasses,
    /// Blocks of verdict cells.
    Verdicts,
    /// Endpoint records.
    Endpoints,
    /// Slots for interfaces; their number is fixed.
    Interfaces,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Trie4Blocks,
        Self::Trie6Nodes,
        Self::Trie6Leaves,
        Self::PortSets,
        Self::PortClasses,
        Self::Verdicts,
        Self::Endpoints,
        Self::Interfaces,
    ];

    /// The table's name in the kernel.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trie4Blocks => table::TRIE4,
            Self::Trie6Nodes => table::TRIE6_NODES,
            Self::Trie6Leaves => table::TRIE6_LEAVES,
            Self::PortSets => table::PORT_SETS,
            Self::PortClasses => table::PORTS,
            Self::Verdicts => table::VERDICTS,
            Self::Endpoints => table::ENDPOINTS,
            Self::Interfaces => table::INTERFACES,
        }
    }

    /// The field of [`table::Limits`] that makes it larger; `None`: its size is fixed.
    #[must_use]
    pub const fn limit_name(self) -> Option<&'static str> {
        match self {
            Self::Trie4Blocks => Some("trie4_blocks"),
            Self::Trie6Nodes => Some("trie6_nodes"),
            Self::Trie6Leaves => Some("trie6_leaves"),
            Self::PortSets => Some("port_sets"),
            Self::PortClasses | Self::Interfaces => None,
            Self::Verdicts => Some("verdict_blocks"),
            Self::Endpoints => Some("endpoints"),
        }
    }
}

/// A table ran out while a plan was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} is full", table.name())]
pub(super) struct Full {
    pub(super) table: Table,
}

/// Which table is too small, and by how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// The table.
    pub table: Table,
    /// How many elements it holds.
    pub limit: u32,
    /// How many it would have to hold for everything to be represented, as far as is known.
    pub needed: u32,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, limit, needed } = *self;
        write!(f, "{} is full: {needed} needed, {limit} available", table.name())?;
        match table.limit_name() {
            Some(name) => write!(f, "; raise the limit `{name}`"),
            None => write!(f, "; its size is fixed"),
        }
    }
}
