//! The single writes of which a plan consists.

use enforcer_ebpf::contract::endpoint::{Endpoint, ExtraAddress, Slot};
use enforcer_ebpf::contract::entry::{Cell, Entry};
use enforcer_ebpf::contract::table::{Leaf6, Node6};
use enforcer_ebpf::packet::Address6;

use super::desired::Owner;

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
    /// The shortcut of an IPv6 network.
    Network6 {
        /// Its place in the table.
        place: u32,
        /// The node or leaf; 0 for none.
        entry: Entry,
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
        /// The index of the word.
        word: u32,
        /// The 64 bits.
        bits: u64,
    },
    /// One verdict cell.
    Verdict {
        /// Its index: first cell of the row + class.
        index: u32,
        /// The verdict.
        cell: Cell,
    },
    /// A run of verdict cells in no row that an endpoint has.
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
    /// The removal of such an address.
    RemoveExtraAddress(ExtraAddress),
    /// The endpoint of a pod's address, for packets that have lost their mark.
    PodAddress {
        /// The address, IPv4 in `::ffff:a.b.c.d` form.
        address: Address6,
        /// The endpoint's id; 0 for none.
        id: u32,
    },
    /// One slot of the interface table.
    Interface {
        /// The slot.
        slot: u32,
        /// Interface and record; 0 for none.
        value: Slot,
    },
    /// The endpoint of an id, for marked packets.
    Sender {
        /// The id.
        id: u32,
        /// Interface and record; 0 for none.
        value: Slot,
    },
    /// The record of an endpoint id, for the agent that follows this one.
    Owner {
        /// The id.
        id: u32,
        /// The interface.
        ifindex: u32,
        /// Its owner; `None`: the id is not assigned.
        owner: Option<Owner>,
        /// The pod's UID; empty if unknown.
        uid: String,
        /// The interface's identity beyond its index; 0 if unknown.
        identity: u32,
    },
    /// The removal of the counters and flows of an endpoint id, which is about to be assigned to
    /// another pod (semantics C5).
    ForgetEndpoint {
        /// The id.
        id: u32,
    },
    /// A grace period: wait until no packet reads what was unlinked before, so that later steps can
    /// reuse it.
    Grace,
}
