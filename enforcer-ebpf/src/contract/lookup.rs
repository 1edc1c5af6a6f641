//! The three look-ups of the classifier: the pod of an interface, the class of an address, the
//! class of a port.
//!
//! Generic over [`Tables`]: the programs in the kernel, the agent's model of the kernel and the
//! tests all run this code.

use crate::contract::endpoint::{CLOSED_RECORD, Endpoint, Order, Slot, slots_of};
use crate::contract::entry::{Cell, Entry};
use crate::contract::networks::Places;
use crate::contract::table::{
    Block, InterfaceTable, Leaf6, NetworkTable, Node6, PortSetBits, PortTable, SLOTS,
};

/// Access to the classifier's tables. `None`: the index is outside of the table.
pub trait Tables {
    /// A block of the IPv4 trie.
    fn trie4(&self, block: u32) -> Option<&Block>;
    /// A node of the IPv6 trie.
    fn node6(&self, node: u32) -> Option<&Node6>;
    /// A leaf of the IPv6 trie.
    fn leaf6(&self, leaf: u32) -> Option<&Leaf6>;
    /// The IPv6 networks' shortcuts.
    fn networks6(&self) -> Option<&NetworkTable>;
    /// The places of networks.
    fn network_places(&self) -> Places;
    /// The port classes.
    fn ports(&self) -> Option<&PortTable>;
    /// The bitmap of a port set.
    fn port_set(&self, set: u32) -> Option<&PortSetBits>;
    /// A block of verdict cells.
    fn verdicts(&self, block: u32) -> Option<&Block>;
    /// The interface slots.
    fn interfaces(&self) -> Option<&InterfaceTable>;
    /// The slot of an endpoint id.
    fn sender(&self, id: u32) -> Option<Slot>;
    /// An endpoint record.
    fn endpoint(&self, record: u32) -> Option<&Endpoint>;
}

/// The endpoint of an interface. `None`: it has no slot.
#[inline(always)]
pub fn endpoint<T: Tables>(tables: &T, ifindex: u32) -> Option<&Endpoint> {
    tables.endpoint(record(tables, ifindex)?)
}

/// The endpoint of an interface, or the closed one if the interface has no slot because there are
/// more than fit. `None`: no agent has written either yet.
#[inline(always)]
pub fn endpoint_or_closed<T: Tables>(tables: &T, ifindex: u32) -> Option<&Endpoint> {
    let endpoint = tables.endpoint(record(tables, ifindex).unwrap_or(CLOSED_RECORD))?;
    if endpoint.id == 0 { None } else { Some(endpoint) }
}

/// The record in the slot of an interface.
#[inline(always)]
fn record<T: Tables>(tables: &T, ifindex: u32) -> Option<u32> {
    let slots = tables.interfaces()?;
    let (first, second) = slots_of(ifindex);
    let mut slot = Slot(slots[first]);
    if slot.ifindex() != ifindex {
        slot = Slot(slots[second]);
        if slot.ifindex() != ifindex {
            return None;
        }
    }
    Some(slot.record())
}

/// The endpoint that an id in a packet's mark names.
#[inline(always)]
pub fn sender<T: Tables>(tables: &T, id: u32) -> Option<&Endpoint> {
    let slot = tables.sender(id)?;
    if slot.0 == 0 { None } else { tables.endpoint(slot.record()) }
}

/// What is known of an IPv4 address. `order`: the endpoint's whose row is asked next.
#[inline(always)]
pub fn address4<T: Tables>(tables: &T, order: Order, address: u32) -> Option<Entry> {
    let byte = |shift: u32| (address >> shift) as usize & (SLOTS - 1);
    let mut entry = Entry(tables.trie4((address >> 24) + order.zero())?[byte(16)]);
    if entry.is_link() {
        entry = Entry(tables.trie4(entry.index())?[byte(8)]);
        if entry.is_link() {
            entry = Entry(tables.trie4(entry.index())?[byte(0)]);
        }
    }
    Some(entry)
}

/// The verdict cell of a peer class in the row that begins at cell `row`.
#[inline(always)]
pub fn cell<T: Tables>(tables: &T, row: u32, class: u32) -> Option<Cell> {
    let cell = row.wrapping_add(class);
    Some(Cell(tables.verdicts(cell >> 8)?[cell as usize & (SLOTS - 1)]))
}

/// The index of an IP protocol in the port table: TCP 0, UDP 1, SCTP 2; `None` for others, which
/// have no ports.
#[inline(always)]
#[must_use]
pub const fn port_protocol(protocol: u8) -> Option<usize> {
    match protocol {
        6 => Some(0),
        17 => Some(1),
        132 => Some(2),
        _ => None,
    }
}

/// Whether a cell allows any port at all, for ports that address translation hides.
#[inline(always)]
#[must_use]
pub const fn cell_allows_some(cell: Cell) -> bool {
    cell.0 != Cell::DENY.0
}

/// Whether a cell allows `port` of IP protocol `protocol` (semantics R1, R7, R8).
#[inline(always)]
pub fn cell_allows<T: Tables>(tables: &T, cell: Cell, protocol: u8, port: u16) -> bool {
    if cell.0 < Cell::FIRST_SET {
        return cell.0 == Cell::ALLOW.0;
    }
    let Some(index) = port_protocol(protocol) else { return false };
    // Set ids end below bit 31: what looks like part of the port is zero, but makes the look-up of
    // its class depend on the cell (semantics C1, as for [`Order`]).
    let port = port | (cell.0 >> 31) as u16;
    port_set_allows(tables, cell.0, index, port).unwrap_or(false)
}

/// The same number, loaded again, so that the verifier sees its bounds. Before Linux 5.12 it forgets
/// the bounds of a whole register that the compiler spilled. A mask would not help: the compiler
/// removes a mask that provably changes nothing.
#[inline(always)]
#[expect(unsafe_code, reason = "a volatile read is one that the compiler can't leave out")]
pub(super) fn reload<N: Copy>(number: N) -> N {
    // SAFETY: the pointer is a reference's.
    unsafe { core::ptr::read_volatile(&number) }
}

#[inline(always)]
fn port_set_allows<T: Tables>(tables: &T, set: u32, index: usize, port: u16) -> Option<bool> {
    let class = tables.ports()?[(index << 16) | reload(port) as usize] as usize;
    let words = tables.port_set(set)?;
    Some((words[(class >> 6) & (words.len() - 1)] >> (class & 63)) & 1 == 1)
}
