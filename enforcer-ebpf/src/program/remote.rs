//! Who is really at the other end: address translation may hide it (semantics N3).
//!
//! A packet to a pod whose source is an address of the node or of a Service may come from somebody
//! else: a client that was masqueraded, or a Service's backend. The packet's mark tells: it was set
//! where the packet came in, before any translation.

use core::ptr;

use enforcer_ebpf::classify;
use enforcer_ebpf::client::{Client, place};
use enforcer_ebpf::count::Direction;
use enforcer_ebpf::entry::Entry;
use enforcer_ebpf::mark::Mark;
use enforcer_ebpf::packet::Packet;

use crate::family::{Family, owns};
use crate::frame::Frame;
use crate::judge::Hook;
use crate::maps::{CLIENTS, KernelTables};

/// The far end's port is hidden by translation.
pub(crate) const HIDDEN_PORT: u32 = u32::MAX;

/// The other end of a packet.
#[derive(Clone, Copy)]
pub(crate) struct Far {
    /// What is known of its address.
    pub(crate) entry: Entry,
    /// The port that the sender sent from, or [`HIDDEN_PORT`].
    pub(crate) port: u32,
}

/// Looks the other end up: the real one, if it is known.
#[inline(always)]
pub(crate) fn far_end<H: Hook, F: Family>(frame: &Frame, packet: &Packet<F::Address>) -> Far {
    let address = H::peer(packet);
    let entry = F::entry(&address);
    if matches!(H::DIRECTION, Direction::Ingress)
        && entry.may_hide_another()
        && let Some((hidden, port)) = hidden::<F>(frame.mark(), &address)
    {
        return Far { entry: F::entry(&hidden), port };
    }
    Far { entry, port: u32::from(packet.source_port) }
}

/// Who sent a packet that claims to be from `source`, and from which port; `None` if the claim is
/// right, or nobody knows better.
#[inline(always)]
pub(crate) fn hidden<F: Family>(mark: Mark, source: &F::Address) -> Option<(F::Address, u32)> {
    if mark.is_outside() {
        let client = client(mark.sequence())?;
        let address = F::narrow(&client.address)?;
        return (address != *source).then_some((address, u32::from(client.port)));
    }
    let sender = classify::sender(&KernelTables, mark.sender())?;
    if owns::<F>(sender, source) {
        return None;
    }
    Some((F::own(sender)?, HIDDEN_PORT))
}

/// The client that this CPU noted under a sequence number, if it isn't too long ago.
#[inline(always)]
fn client(sequence: u32) -> Option<Client> {
    let clients = CLIENTS.get_ptr(0)?;
    // SAFETY: a live value of this CPU's; the place is masked to the ring's size.
    let client = unsafe { *(&raw const (*clients).ring[0]).add(place(sequence)) };
    (client.sequence == sequence).then_some(client)
}

/// Notes who sent a packet that has just come in from outside.
#[inline(always)]
pub(crate) fn note<F: Family>(frame: &Frame, packet: &Packet<F::Address>) {
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
