//! The other end of a packet, which address translation may hide (semantics N3).
//!
//! The source of a packet to a pod may be an address of the node or of a Service that stands for
//! another: for a masqueraded client, or for a Service's backend. The packet's mark names the real
//! one: it was set where the packet entered the node, before any translation.

use core::ptr;

use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use enforcer_ebpf::contract::client::{Client, Clients, LAP, begins_lap, number, place};
use enforcer_ebpf::contract::endpoint::{Order, flags};
use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::lookup;
use enforcer_ebpf::contract::mark::Mark;
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_ebpf::packet::{Bytes as _, Packet};

use crate::program::config;
use crate::program::family::{Family, owns};
use crate::program::frame::Frame;
use crate::program::hook::Hook;
use crate::program::maps::{CLIENTS, KernelTables};

/// The value of a port that translation hides.
pub(crate) const HIDDEN_PORT: u32 = u32::MAX;

/// The other end of a packet.
#[derive(Clone, Copy)]
pub(crate) struct Remote<A> {
    /// Its address.
    pub(crate) address: A,
    /// What is known of its address.
    pub(crate) entry: Entry,
    /// Its source port, or [`HIDDEN_PORT`].
    pub(crate) port: u32,
    /// Whether the mark names the end. If not, a drop is counted as a lost mark's.
    pub(crate) is_known: bool,
}

impl<A> Remote<A> {
    /// The same after the verifier has forgotten which way it was found: it proves once what follows.
    #[inline(always)]
    pub(crate) fn merged(self, frame: &Frame) -> Self {
        Self {
            address: self.address,
            entry: Entry(frame.settle(self.entry.0 as usize) as u32),
            port: frame.settle(self.port as usize) as u32,
            is_known: frame.settle(usize::from(self.is_known)) != 0,
        }
    }
}

/// The other end of a packet: the real one, if its address may stand for another, or if a pod of
/// this node sent it: only the mark proves which one did.
#[inline(always)]
pub(crate) fn remote<H: Hook, F: Family>(
    frame: &Frame,
    order: Order,
    packet: &Packet<F::Address>,
) -> Remote<F::Address> {
    let address = H::peer(packet);
    let entry = F::near_entry(order, &address).unwrap_or_else(|| F::entry(order, &address));
    let own = Remote { address, entry, port: u32::from(packet.source_port), is_known: true };
    if matches!(H::DIRECTION, Direction::Egress) {
        return own;
    }
    let hides = entry.may_hide_another();
    match sender::<F>(frame, &address, hides) {
        Sender::Source => own,
        Sender::Other(address, port) => {
            Remote { address, entry: F::entry(order, &address), port, is_known: true }
        }
        // Only rules for every peer apply to it. A pod is known, even if its address is not.
        Sender::Unknown => {
            Remote { entry: Entry::UNKNOWN, is_known: frame.mark().sender() != 0, ..own }
        }
    }
}

/// The sender of a packet, by its mark.
pub(crate) enum Sender<A> {
    /// The end that has the source address.
    Source,
    /// Another: its address, and its port or [`HIDDEN_PORT`].
    Other(A, u32),
    /// Unknown: another program cleared the mark, the client's place was overwritten, or the pod is
    /// gone or has no address of this family.
    Unknown,
}

/// The sender of a packet from `source`. `hides`: whether that address may stand for another.
#[inline(always)]
pub(crate) fn sender<F: Family>(
    frame: &Frame,
    source: &F::Address,
    hides: bool,
) -> Sender<F::Address> {
    let mark = frame.mark();
    if mark.sender() != 0 {
        return local::<F>(mark.sender(), source, hides);
    }
    if !hides {
        return Sender::Source;
    }
    let Some(client) = client(frame.client()) else { return Sender::Unknown };
    match F::narrow(&client.address) {
        Some(address) if address == *source => Sender::Source,
        Some(address) => Sender::Other(address, u32::from(client.port)),
        None => Sender::Unknown,
    }
}

/// The sender of a packet whose mark names a pod of this node: that pod, whatever the source is
/// (semantics P4), unless the pod may send from any address.
#[inline(always)]
fn local<F: Family>(id: u32, source: &F::Address, hides: bool) -> Sender<F::Address> {
    let Some(endpoint) = lookup::sender(&KernelTables, id) else { return Sender::Unknown };
    if owns::<F>(endpoint, source) {
        return Sender::Source;
    }
    if !hides && endpoint.flags & flags::CHECK_SOURCE == 0 {
        return Sender::Source;
    }
    match F::own(endpoint) {
        Some(own) => Sender::Other(own, HIDDEN_PORT),
        None => Sender::Unknown,
    }
}

/// Whether the mark names a client outside that is still known.
#[inline(always)]
pub(crate) fn is_known_client(frame: &Frame) -> bool {
    client(frame.client()).is_some()
}

/// The client that this CPU noted under a number, unless its place was overwritten.
#[inline(always)]
fn client(number: u32) -> Option<Client> {
    if number == 0 {
        return None;
    }
    let clients = CLIENTS.get_ptr(0)?;
    let place = place(number >> config::cpu_bits());
    // SAFETY: a live value of this CPU's; the place is masked to the ring's size.
    let client = unsafe { *(&raw const (*clients).ring[0]).add(place) };
    (client.number == number).then_some(client)
}

/// Notes the sender of a packet that has just entered the node from outside. Without a free number,
/// it is unknown: a number never names two packets that may be within the node at the same time.
#[inline(always)]
pub(crate) fn note_client<F: Family>(frame: &Frame, packet: &Packet<F::Address>) -> bool {
    let Some(clients) = CLIENTS.get_ptr_mut(0) else { return false };
    let bits = config::cpu_bits();
    // SAFETY: as in `client`; nothing else runs on this CPU meanwhile.
    unsafe {
        let mut count = ptr::read(&raw const (*clients).count);
        let cpu = bpf_get_smp_processor_id();
        if cpu >> bits != 0 || (begins_lap(count, bits) && !begin_lap(clients, count)) {
            return false;
        }
        // A number whose part in the mark is 0 would mean an unknown client.
        count += u64::from(Mark::outside(number(count, cpu, bits)) == Mark::UNKNOWN);
        let number = number(count, cpu, bits);
        let client = Client {
            address: F::wide(&packet.source),
            number,
            port: packet.source_port,
            padding: 0,
        };
        ptr::write((&raw mut (*clients).ring[0]).add(place(count as u32)), client);
        ptr::write(&raw mut (*clients).count, count + 1);
        frame.set_client(number);
    }
    true
}

/// Whether the numbers may repeat now.
///
/// # Safety
/// `clients` is a live value of this CPU's.
#[inline(always)]
unsafe fn begin_lap(clients: *mut Clients, count: u64) -> bool {
    // SAFETY: the helper has no arguments; the caller answers for the rest.
    unsafe {
        let now = bpf_ktime_get_ns();
        let is_due =
            count == 0 || now.wrapping_sub(ptr::read(&raw const (*clients).lap_began)) >= LAP;
        if is_due {
            ptr::write(&raw mut (*clients).lap_began, now);
        }
        is_due
    }
}
