//! Names, shapes and limits of the tables.
//!
//! All classifier tables are plain arrays that the agent maps into its memory
//! (`BPF_F_MMAPABLE`, Linux 5.5): a look-up is an index without a call, and a write is one
//! aligned store that a packet sees either before or after, never half.

use bytemuck::{Pod, Zeroable};

use crate::packet::Address6;

/// Slots of one trie block, and cells of one block of verdicts: one byte's worth.
pub const SLOTS: usize = 256;

/// The blocks `0..ROOTS4` of [`TRIE4`] are the root of the IPv4 trie: block = first byte of the
/// address, slot = second byte. Other blocks are reached by [`super::entry::Entry`] links.
pub const ROOTS4: u32 = 256;

/// The node of [`TRIE6_NODES`] where every IPv6 look-up begins; it branches on the first byte.
pub const ROOT6: u32 = 0;

/// The most nodes of an IPv6 look-up below the root: one for each byte of the address but the first.
pub const DEPTH6: usize = 15;

/// Protocols that have ports, in the order of the [`PORTS`] table: TCP, UDP, SCTP.
pub const PORT_PROTOCOLS: usize = 3;

/// Words of a port set's bitmap; each word holds 64 port classes.
pub const PORT_SET_WORDS: usize = 128;

/// The most port classes: sets of (protocol, port) values that no policy distinguishes.
pub const PORT_CLASSES: usize = PORT_SET_WORDS * 64;

/// Slots of the interface → endpoint table. A power of two.
pub const INTERFACE_SLOTS: usize = 4096;

/// Places of the table of IPv6 networks. A power of two.
pub const NETWORK_PLACES: usize = 1 << 17;

/// The packets of each family whose first fragment is remembered.
pub const FRAGMENTS: u32 = 4_096;

/// A block of the IPv4 trie: one [`super::entry::Entry`] for each value of a byte.
pub const TRIE4: &str = "TRIE4";
/// Nodes of the IPv6 trie ([`Node6`]).
pub const TRIE6_NODES: &str = "TRIE6_NODES";
/// Single prefixes within a region of the IPv6 trie ([`Leaf6`]).
pub const TRIE6_LEAVES: &str = "TRIE6_LEAVES";
/// One element: shortcuts into the IPv6 trie by network ([`super::networks`]).
pub const NETWORKS6: &str = "NETWORKS6";
/// One element: port class (`u16`) by protocol and port ([`PortTable`]).
pub const PORTS: &str = "PORTS";
/// Port set id → bitmap over port classes ([`PortSetBits`]). Sets 0 and 1 are never looked up.
pub const PORT_SETS: &str = "PORT_SETS";
/// Verdict cells ([`super::entry::Cell`]) in blocks of [`SLOTS`]; a row begins at any cell.
pub const VERDICTS: &str = "VERDICTS";
/// One element: interface index → endpoint, see [`super::endpoint::Slot`].
pub const INTERFACES: &str = "INTERFACES";
/// Endpoint id → endpoint, as a [`super::endpoint::Slot`]: the sender of a marked packet.
pub const SENDERS: &str = "SENDERS";
/// Per-CPU array, one element: the senders of the latest packets from outside
/// ([`super::client::Clients`]).
pub const CLIENTS: &str = "CLIENTS";
/// Endpoint records ([`super::endpoint::Endpoint`]), never changed once they are reachable.
pub const ENDPOINTS: &str = "ENDPOINTS";
/// Hash: further addresses of an endpoint ([`super::endpoint::ExtraAddress`]) → 1.
pub const EXTRA_ADDRESSES: &str = "EXTRA_ADDRESSES";
/// Hash: an address of a pod of this node, as in [`super::endpoint::ExtraAddress`] → the id of its
/// endpoint.
pub const POD_ADDRESSES: &str = "POD_ADDRESSES";
/// Names of the flow tables of another size, while flows are being moved: as [`FLOW_TABLES`].
pub const OTHER: [&str; 4] =
    ["OTHER_FLOW_TAGS4", "OTHER_FLOW_TAGS6", "OTHER_FLOW_ENTRIES4", "OTHER_FLOW_ENTRIES6"];
/// Name of the hash: endpoint id → [`super::owner::OwnerRecord`]; for the agent alone.
pub const OWNERS: &str = "OWNERS";
/// Hash by interface index: the interfaces that lead out of the node, and [`DENY_UNGUARDED`].
pub const ORIGINS: &str = "ORIGINS";
/// The number of elements of [`ORIGINS`].
pub const ORIGINS_SIZE: u32 = 4_096;
/// No interface's index: if this is in [`ORIGINS`], packets that entered by an interface without our
/// programs are dropped (semantics C6).
pub const DENY_UNGUARDED: u32 = 0;
/// Tags of the groups of [`FLOW_ENTRIES4`] ([`super::flow_table`]).
pub const FLOW_TAGS4: &str = "FLOW_TAGS4";
/// Tags of the groups of [`FLOW_ENTRIES6`].
pub const FLOW_TAGS6: &str = "FLOW_TAGS6";
/// IPv4 flows, in groups ([`super::flow_table::Group4`]).
pub const FLOW_ENTRIES4: &str = "FLOW_ENTRIES4";
/// IPv6 flows, in groups ([`super::flow_table::Group6`]).
pub const FLOW_ENTRIES6: &str = "FLOW_ENTRIES6";
/// The tables with flows.
pub const FLOW_TABLES: [&str; 4] = [FLOW_TAGS4, FLOW_TAGS6, FLOW_ENTRIES4, FLOW_ENTRIES6];
/// One element: the secret of the flows' hash, for the next agent.
pub const FLOW_SECRET: &str = "FLOW_SECRET";
/// Endpoint id → 1 if the pod has more flows than its share, else 0.
pub const OVER_SHARE: &str = "OVER_SHARE";
/// Endpoint id → when connections began there ([`super::starts::Starts`]).
pub const STARTS: &str = "STARTS";
/// Per-CPU array, an element for each family ([`super::counters::FlowCounts`]): IPv4, IPv6.
pub const FLOW_COUNTS: &str = "FLOW_COUNTS";
/// LRU hash: IPv4 packets whose first fragment was allowed ([`super::fragment::Fragment4`]).
pub const FRAGMENTS4: &str = "FRAGMENTS4";
/// LRU hash: IPv6 packets whose first fragment was allowed ([`super::fragment::Fragment6`]).
pub const FRAGMENTS6: &str = "FRAGMENTS6";
/// Per-CPU array by endpoint id ([`super::counters::Counters`]).
pub const COUNTERS: &str = "COUNTERS";
/// Per-CPU array by endpoint id: the budget of events ([`super::event::Budget`]).
pub const BUDGET: &str = "BUDGET";
/// Ring buffer of [`super::event::Event`].
pub const EVENTS: &str = "EVENTS";
/// The parts of `to_pod`: [`super::parts`].
pub const PARTS: &str = "PARTS";

/// The number of elements of each table; the agent may choose others when it loads the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Blocks of the IPv4 trie, its 256 roots included; 1 KiB each.
    pub trie4_blocks: u32,
    /// Nodes of the IPv6 trie, its root included; about 1 KiB each.
    pub trie6_nodes: u32,
    /// Leaves of the IPv6 trie; 40 bytes each.
    pub trie6_leaves: u32,
    /// Port sets, the two reserved ones included; 1 KiB each.
    pub port_sets: u32,
    /// Blocks of 256 verdict cells; 1 KiB each.
    pub verdict_blocks: u32,
    /// Endpoint records and counters; two more than there are interfaces.
    pub endpoints: u32,
    /// Flows of each family; about 45 bytes (IPv4) and 90 bytes (IPv6) each.
    pub flows: u32,
}

impl Limits {
    /// Enough for an AKS node (at most 250 pods) with a wide margin: about 56 MiB of kernel memory.
    pub const DEFAULT: Self = Self {
        trie4_blocks: 8_192,
        trie6_nodes: 8_192,
        trie6_leaves: 32_768,
        port_sets: 8_192,
        verdict_blocks: 8_192,
        endpoints: 2_048,
        flows: 196_608,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A block of 256 words: trie entries or verdict cells.
pub type Block = [u32; SLOTS];

/// Port class by `protocol index * 65536 + port`.
pub type PortTable = [u16; PORT_PROTOCOLS << 16];

/// Bit `c` is set when the port class `c` is in the set.
pub type PortSetBits = [u64; PORT_SET_WORDS];

/// The interface table's only element, indexed by [`super::endpoint::slots_of`].
pub type InterfaceTable = [u64; INTERFACE_SLOTS];

/// A node or leaf of the IPv6 trie, as an [`super::entry::Entry`], by place; 0 for none.
pub type NetworkTable = [u32; NETWORK_PLACES];

/// A node of the IPv6 trie: a check of the bytes that were skipped, then a branch on one byte.
///
/// Addresses for which `(address ^ value) & mask` is not zero take `outside`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
pub struct Node6 {
    /// The required value of the skipped bits.
    pub value: Address6,
    /// Which bits are checked.
    pub mask: Address6,
    /// The [`super::entry::Entry`] of addresses that differ in the checked bits; never a link.
    pub outside: u32,
    /// How many bits of the address follow the byte that chooses the slot: 112 to 0. Of the root, nobody
    /// asks.
    pub shift: u32,
    /// One [`super::entry::Entry`] for each value of that byte.
    pub slots: Block,
}

impl Node6 {
    /// Which byte of the address chooses the slot, 0 (first) to 15.
    #[must_use]
    pub const fn byte(&self) -> u32 {
        15 - self.shift / 8
    }
}

/// One prefix within a region of the IPv6 trie that is otherwise uniform.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
pub struct Leaf6 {
    /// The prefix's bits.
    pub value: Address6,
    /// Which bits are compared.
    pub mask: Address6,
    /// The [`super::entry::Entry`] of addresses within the prefix; never a link.
    pub inside: u32,
    /// The [`super::entry::Entry`] of the others; never a link.
    pub outside: u32,
}
