//! The compiler's result: verdicts, independent of the kernel's numbering.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use enforcer_ebpf::contract::verdict::Direction;
use ipnet::IpNet;

use crate::model::{PodId, PortRange, Protocol};

/// Ports of the protocols that have ports, in canonical form: ranges of one protocol are sorted,
/// disjoint and not adjacent. Two sets that allow the same ports are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PortSet {
    /// The ranges of each protocol; protocols without a range are absent.
    pub ranges: BTreeMap<Protocol, Vec<PortRange>>,
}

/// What a subject allows for an address in one direction.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing.
    Deny,
    /// Everything, protocols without ports included (semantics R1).
    Allow,
    /// These ports of the receiver; never empty. Shared, because a large table repeats few sets.
    Ports(Arc<PortSet>),
}

/// Index of a row in [`Compiled::rows`].
pub type RowId = usize;

/// Index of a column of each row: a class of addresses that no row distinguishes.
pub type Column = usize;

/// One isolated direction of one or more subjects: a verdict for each column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row {
    /// By [`Column`]; all rows have the same length.
    pub verdicts: Vec<Verdict>,
}

/// A pod's isolation (semantics S4). `None`: not isolated in that direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PodPolicy {
    /// The row that judges packets to the pod.
    pub ingress: Option<RowId>,
    /// The row that judges packets from the pod.
    pub egress: Option<RowId>,
}

/// The verdicts of all local subjects for all addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Compiled {
    /// Distinct rows, no two alike.
    pub rows: Vec<Row>,
    /// The number of columns of each row; at least 1. Column 0 holds for addresses that `addresses`
    /// does not cover.
    pub columns: usize,
    /// The column of each address, by longest prefix: a prefix's column holds for its addresses
    /// except for those of longer prefixes in the map.
    pub addresses: BTreeMap<IpNet, Column>,
    /// This node's own addresses as host prefixes (semantics A2); each is also in `addresses`.
    pub node_addresses: BTreeSet<IpNet>,
    /// The addresses of Services as host prefixes (semantics N1).
    pub service_addresses: BTreeSet<IpNet>,
    /// Those of them that tenants choose, and that may be a client's, too (semantics A6): external
    /// addresses and load balancers'.
    pub external_addresses: BTreeSet<IpNet>,
    /// The local subjects (semantics S1), isolated or not.
    pub pods: BTreeMap<PodId, PodPolicy>,
}

impl PodPolicy {
    /// The row that judges packets in this direction; `None`: not isolated.
    #[must_use]
    pub fn row(&self, direction: Direction) -> Option<RowId> {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }
}

impl Compiled {
    /// The column of an address, by longest prefix. Slow (one look-up for each prefix length): for
    /// tests and explanations.
    #[must_use]
    pub fn column(&self, address: IpAddr) -> Column {
        let host = IpNet::from(address);
        std::iter::successors(Some(host), IpNet::supernet)
            .find_map(|prefix| self.addresses.get(&prefix))
            .copied()
            .unwrap_or(0)
    }

    /// The pod's verdict for a peer in one direction; `None`: the pod is not isolated in it, or is
    /// no local subject. Semantics A1 to A4 are not considered.
    #[must_use]
    pub fn verdict(&self, pod: &PodId, direction: Direction, peer: IpAddr) -> Option<&Verdict> {
        let row = self.pods.get(pod)?.row(direction)?;
        self.rows.get(row)?.verdicts.get(self.column(peer))
    }
}
