//! Counters for every packet, and events for dropped ones.

use core::ptr;

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::maps::ring_buf::RingBufEntry;
use enforcer_ebpf::contract::counters::NOBODY;
use enforcer_ebpf::contract::endpoint::Endpoint;
use enforcer_ebpf::contract::event::{
    Budget, EVENTS_ASSURED, EVENTS_PER_CPU, EVENTS_PER_ENDPOINT, Event,
};
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_ebpf::packet::{Address6, Packet, protocol, role};

use crate::program::clock;
use crate::program::family::{Family, owns};
use crate::program::frame::Frame;
use crate::program::hook::Hook;
use crate::program::maps::{BUDGET, COUNTERS, EVENTS};
use crate::program::remote::{self, Sender};

/// Counts a packet of `length` bytes. `reason`: a [`Reason`](enforcer_ebpf::contract::verdict::Reason)
/// as a number.
#[inline(always)]
pub(crate) fn count(endpoint: &Endpoint, direction: Direction, reason: u32, length: u32) {
    count_id(endpoint.id, direction, reason, length);
}

/// Counts a packet of no endpoint.
#[inline(always)]
pub(crate) fn count_nobody(direction: Direction, reason: u32, length: u32) {
    count_id(NOBODY, direction, reason, length);
}

#[inline(always)]
fn count_id(id: u32, direction: Direction, reason: u32, length: u32) {
    let Some(counters) = COUNTERS.get_ptr_mut(id) else { return };
    // SAFETY: a live value of this CPU's.
    let counts = unsafe { &mut (*counters).counts[direction as usize] };
    // Loaded again, so that the check is next to its use: before Linux 5.12 the verifier forgets the
    // bounds of what the compiler spilled in between.
    // SAFETY: the pointer is a reference's.
    let reason = unsafe { ptr::read_volatile(&reason) };
    if let Some(count) = counts.get_mut(reason as usize) {
        count.packets += 1;
        count.bytes += u64::from(length);
    }
}

/// Whether the endpoint's budget of events for the window is spent; if so, an event counts as lost.
#[inline(always)]
pub(crate) fn is_spent(endpoint: &Endpoint) -> bool {
    let Some(budget) = BUDGET.get_ptr_mut(endpoint.id) else { return true };
    // SAFETY: a live value of this CPU's.
    unsafe {
        let is_spent = (*budget).left == 0 && (*budget).window == u64::from(clock::now());
        if is_spent {
            (*budget).lost = (*budget).lost.wrapping_add(1);
        }
        is_spent
    }
}

/// Reserves room for an event, unless the endpoint's budget for the window is spent, or the one that
/// it shares with others.
#[inline(always)]
pub(crate) fn reserve(endpoint: &Endpoint) -> Option<RingBufEntry<Event>> {
    let own = BUDGET.get_ptr_mut(endpoint.id)?;
    let shared = BUDGET.get_ptr_mut(NOBODY)?;
    let window = u64::from(clock::now());
    // SAFETY: live values of this CPU's.
    unsafe {
        let left = left_in(own, window, EVENTS_PER_ENDPOINT);
        let others = left_in(shared, window, EVENTS_PER_CPU);
        let is_assured = left > EVENTS_PER_ENDPOINT - EVENTS_ASSURED;
        if left == 0 || !is_assured && others == 0 {
            (*own).left = 0;
            (*own).lost = (*own).lost.wrapping_add(1);
            return None;
        }
        (*own).left = left - 1;
        if !is_assured {
            (*shared).left = others - 1;
        }
    }
    let slot = EVENTS.reserve::<Event>(0);
    if slot.is_none() {
        // SAFETY: as above.
        unsafe { (*own).lost = (*own).lost.wrapping_add(1) };
    }
    slot
}

/// What is left of a budget, which is whole again in each window.
///
/// # Safety
/// A live value of this CPU's.
#[inline(always)]
unsafe fn left_in(budget: *mut Budget, window: u64, whole: u32) -> u32 {
    // SAFETY: the caller's promise.
    unsafe {
        if (*budget).window != window {
            (*budget).window = window;
            (*budget).left = whole;
        }
        (*budget).left
    }
}

/// Reports a dropped frame of which only the link layer matters, if there is room.
#[inline(always)]
pub(crate) fn dropped_frame<H: Hook>(frame: &Frame, endpoint: &Endpoint, reason: u32) {
    let Some(mut slot) = reserve(endpoint) else { return };
    let event = slot.as_mut_ptr();
    // SAFETY: the ring buffer's room for an event, all of which is written: it is a whole number of words.
    unsafe {
        // Volatile: the compiler would call a function to clear it.
        for word in 0..size_of::<Event>() / size_of::<u64>() {
            ptr::write_volatile(event.cast::<u64>().add(word), 0);
        }
        (*event).endpoint = endpoint.id;
        (*event).ifindex = endpoint.ifindex;
        (*event).length = frame.length();
        (*event).direction = H::DIRECTION as u8;
        (*event).reason = reason as u8;
    }
    slot.submit(u64::from(BPF_RB_NO_WAKEUP));
}

/// Reports a dropped packet, if there is room.
#[inline(always)]
pub(crate) fn dropped<H: Hook, F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    reason: u32,
    packet: &Packet<F::Address>,
) {
    let Some(mut slot) = reserve(endpoint) else { return };
    // For the flow, an ICMP query's ports are its identifier and kind; a report names type and code.
    let destination_port = match packet.protocol {
        protocol::ICMP | protocol::ICMP6 => {
            u16::from(packet.icmp_type) << 8 | u16::from(packet.icmp_code)
        }
        _ => packet.destination_port,
    };
    let event = slot.as_mut_ptr();
    // SAFETY: the ring buffer's room for an event, all of which is written. Field by field: the stack has no
    // room for a copy.
    unsafe {
        (*event).source = F::wide(&packet.source);
        (*event).destination = F::wide(&packet.destination);
        (*event).sender = hidden_sender::<H, F>(frame, endpoint, packet);
        (*event).endpoint = endpoint.id;
        (*event).ifindex = endpoint.ifindex;
        (*event).length = frame.length();
        (*event).source_port = packet.source_port;
        (*event).destination_port = destination_port;
        (*event).protocol = packet.protocol;
        (*event).direction = H::DIRECTION as u8;
        (*event).reason = reason as u8;
        (*event).version = F::VERSION;
        (*event).tcp_number = tcp_number(frame, packet);
        (*event).role = packet.role.into();
    }
    slot.submit(u64::from(BPF_RB_NO_WAKEUP));
}

/// The real sender's address if the source stands for another, else zero.
#[inline(always)]
fn hidden_sender<H: Hook, F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
) -> Address6 {
    match H::DIRECTION {
        Direction::Ingress => {
            let hides = F::entry(endpoint.order(), &packet.source).may_hide_another();
            match remote::sender::<F>(frame, &packet.source, hides) {
                Sender::Other(address, _) => F::wide(&address),
                Sender::Source | Sender::Unknown => [0, 0],
            }
        }
        Direction::Egress if owns::<F>(endpoint, &packet.source) => [0, 0],
        Direction::Egress => match F::own(endpoint) {
            Some(own) => F::wide(&own),
            None => [0, 0],
        },
    }
}

/// The number that a reset of the segment needs.
#[inline(always)]
fn tcp_number<A>(frame: &Frame, packet: &Packet<A>) -> u32 {
    if packet.protocol != protocol::TCP {
        return 0;
    }
    let field = if role::opens(packet.role) { 4 } else { 8 };
    frame.load(packet.transport + field)
}
