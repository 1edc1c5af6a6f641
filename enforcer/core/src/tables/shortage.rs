//! Tables that are too small (semantics R9).

use std::fmt;

/// A table, or a range of numbers, that can become full.
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
    /// All tables.
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

    /// The table's name for people, and its field of `enforcer_ebpf::contract::table::Limits`.
    const fn names(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Trie4Blocks => ("ipv4-addresses", Some("trie4_blocks")),
            Self::Trie6Nodes => ("ipv6-networks", Some("trie6_nodes")),
            Self::Trie6Leaves => ("ipv6-addresses", Some("trie6_leaves")),
            Self::PortSets => ("port-sets", Some("port_sets")),
            Self::PortClasses => ("port-classes", None),
            Self::Verdicts => ("verdicts", Some("verdict_blocks")),
            Self::Endpoints => ("pods", Some("endpoints")),
            Self::Interfaces => ("interfaces", None),
        }
    }

    /// The table's name in messages, status and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.names().0
    }

    /// The field of `enforcer_ebpf::contract::table::Limits` with the table's size; `None`: the size is fixed.
    #[must_use]
    pub const fn limit_name(self) -> Option<&'static str> {
        self.names().1
    }
}

/// The error of a plan for which a table is too small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the table {} is full", table.name())]
pub(super) struct Full {
    pub(super) table: Table,
}

/// A table that is too small, and its required size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// The table.
    pub table: Table,
    /// The number of its elements.
    pub limit: u32,
    /// The number of elements that would represent everything, as far as known.
    pub needed: u32,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, limit, needed } = *self;
        write!(f, "the table {} is full: {needed} needed, {limit} available", table.name())?;
        match table.limit_name() {
            Some("endpoints") => write!(f, "; fewer pods fit on this node"),
            Some(name) => write!(
                f,
                "; start the agent with --table-sizes {name}={}",
                needed.saturating_add(needed / 4)
            ),
            None if table == Table::PortClasses => {
                write!(f, "; use fewer distinct ports in the policies of this node's pods")
            }
            None => write!(f, "; fewer pods fit on this node"),
        }
    }
}
