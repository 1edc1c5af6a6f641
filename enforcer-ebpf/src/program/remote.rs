//! The other end of a packet, which address translation may hide (semantics N3).
//!
//! The source of a packet to a pod may be an address of the node or of a Service that stands for
//! another: for a masqueraded client, or for a Service's backend. The packet's mark names the real
//! one: it was set where the packet entered the node, before any translation.

use core::ptr;

use enforcer_ebpf::contract::client::{Client, place};
use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::lookup;
use enforcer_ebpf::contract::mark::Mark;
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_ebpf::packet::Packet;

use crate::program::family::{Family, owns};
use crate::program::frame::Frame;
use crate::program::hook::Hook;
use crate::program::maps::{CLIENTS, KernelTables};

/// The value of a port that translation hides.
pub(crate) const HIDDEN_PORT: u32 = u32::MAX;

/// The other end of a packet.
#[derive(Clone, Copy)]
pub(crate) struct Remote {
    /// What is known of its address.
    pub(crate) entry: Entry,
    /// Its source port, or [`HIDDEN_PORT`].
    pub(crate) port: u32,
}

/// The other end of a packet: the real one, if it is known.
#[inline(always)]
pub(crate) fn remote<H: Hook, F: Family>(frame: &Frame, packet: &Packet<F::Address>) -> Remote {
    let address = H::peer(packet);
    let entry = F::entry(&address);
    if matches!(H::DIRECTION, Direction::Ingress)
        && entry.may_hide_another()
        && let Some((hidden, port)) = hidden::<F>(frame.mark(), &address)
    {
        return Remote { entry: F::entry(&hidden), port };
    }
    Remote { entry, port: u32::from(packet.source_port) }
}

/// The sender's real address and port; `None` if `source` is its own, or the sender is unknown.
#[inline(always)]
pub(crate) fn hidden<F: Family>(mark: Mark, source: &F::Address) -> Option<(F::Address, u32)> {
    if mark.is_outside() {
        let client = client(mark.sequence())?;
        let address = F::narrow(&client.address)?;
        return (address != *source).then_some((address, u32::from(client.port)));
    }
    let sender = lookup::sender(&KernelTables, mark.sender())?;
    if owns::<F>(sender, source) {
        return None;
    }
    Some((F::own(sender)?, HIDDEN_PORT))
}

/// The client that this CPU noted under a sequence number, unless its slot was overwritten.
#[inline(always)]
fn client(sequence: u32) -> Option<Client> {
    let clients = CLIENTS.get_ptr(0)?;
    // SAFETY: a live value of this CPU's; the place is masked to the ring's size.
    let client = unsafe { *(&raw const (*clients).ring[0]).add(place(sequence)) };
    (client.sequence == sequence).then_some(client)
}

/// Notes the sender of a packet that has just entered the node from outside.
#[inline(always)]
pub(crate) fn note_client<F: Family>(frame: &Frame, packet: &Packet<F::Address>) {
    let Some(clients) = CLIENTS.get_ptr_mut(0) else { return };
    // SAFETY: as in `client`; nothing else runs on this CPU meanwhile.
    unsafe {
        let next = ptr::read(&raw const (*clients).next);
        let mark = Mark::outside(next as u32);
        let client = Client {
            address: F::wide(&packet.source),
            sequence: mark.sequence(),
            port: packet.source_port,
            padding: 0,
        };
        ptr::write((&raw mut (*clients).ring[0]).add(place(mark.sequence())), client);
        ptr::write(&raw mut (*clients).next, next + 1);
        frame.set_mark(mark);
    }
}
