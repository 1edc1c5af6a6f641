//! The single writes that a plan consists of.

use enforcer_ebpf::contract::endpoint::{Endpoint, ExtraAddress, Slot};
use enforcer_ebpf::contract::entry::{Cell, Entry};
use enforcer_ebpf::contract::table::{Leaf6, Node6};

use super::Owner;

/// One write. Words (`Entry`, `Cell`, port classes, slots) are written atomically; whole nodes,
/// leaves, records and fresh blocks are only written where no packet can reach them yet.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// One word of a block of the IPv4 trie.
    Trie4 {
        /// The block.
        block: u32,
        /// Its slot, 0 to 255.
        slot: u8,
        /// The word.
        entry: Entry,
    },
    /// A whole block of the IPv4 trie that nothing links to.
    Block4 {
        /// The block.
        block: u32,
        /// All its words.
        entries: Box<[Entry; 256]>,
    },
    /// One slot of a node of the IPv6 trie.
    Trie6 {
        /// The node.
        node: u32,
        /// Its slot, 0 to 255.
        slot: u8,
        /// The word.
        entry: Entry,
    },
    /// A whole node of the IPv6 trie that nothing links to.
    Node6 {
        /// The node.
        node: u32,
        /// Its contents.
        value: Box<Node6>,
    },
    /// A leaf of the IPv6 trie that nothing links to.
    Leaf6 {
        /// The leaf.
        leaf: u32,
        /// Its contents.
        value: Leaf6,
    },
    /// The class of a port.
    PortClass {
        /// Protocol index, see [`enforcer_ebpf::contract::lookup::port_protocol`].
        protocol: u8,
        /// The port.
        port: u16,
        /// Its class.
        class: u16,
    },
    /// One word of a port set's bitmap.
    PortSetWord {
        /// The set.
        set: u32,
        /// Which word.
        word: u32,
        /// The 64 bits.
        bits: u64,
    },
    /// One verdict cell, by its absolute index.
    Verdict {
        /// Row + class.
        index: u32,
        /// The verdict.
        cell: Cell,
    },
    /// A run of verdict cells that no endpoint's row leads to.
    Verdicts {
        /// The first cell.
        index: u32,
        /// The verdicts.
        cells: Box<[Cell]>,
    },
    /// An endpoint record that no interface has.
    Endpoint {
        /// The record's index.
        record: u32,
        /// Its contents.
        value: Endpoint,
    },
    /// An address of an endpoint beyond the two of its record.
    AddExtraAddress(ExtraAddress),
    /// The address is no longer the endpoint's.
    RemoveExtraAddress(ExtraAddress),
    /// One slot of the interface table.
    Interface {
        /// Which slot.
        slot: u32,
        /// Interface and record; 0 for none.
        value: Slot,
    },
    /// Who has an endpoint id, for marked packets.
    Sender {
        /// The id.
        id: u32,
        /// Interface and record; 0 for none.
        value: Slot,
    },
    /// Notes who has an endpoint id, for an agent that starts where this one has left off.
    Owner {
        /// The id.
        id: u32,
        /// The interface.
        ifindex: u32,
        /// Who is behind it; `None`: the id is nobody's.
        owner: Option<Owner>,
        /// The pod's UID, if it has one.
        uid: String,
    },
    /// Forget the counters and flows of an endpoint id that is about to be given to another pod
    /// (semantics C5).
    ForgetEndpoint {
        /// The id.
        id: u32,
    },
    /// Wait until no packet reads what was unlinked before: what follows may reuse it.
    Grace,
}
