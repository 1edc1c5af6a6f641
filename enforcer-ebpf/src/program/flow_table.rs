//! The two flow tables, and the moves between them.
//!
//! A new flow enters the table of *opening* flows, an LRU hash: a flood displaces only what is
//! there. An established flow moves to the table of *established* flows, a plain hash that displaces
//! nothing; a finished flow moves back. If the established table is full, the flow stays in the
//! opening one and is counted. The worst effect of a forgotten flow is a denied reply.

use core::ptr;

use aya_ebpf::bindings::BPF_NOEXIST;
use enforcer_ebpf::contract::counters::FlowCounts;
use enforcer_ebpf::contract::flow::{FlowState, LIFETIMES, flags};
use enforcer_ebpf::contract::verdict::Direction;

use crate::program::config;
use crate::program::family::Family;
use crate::program::maps::FLOW_COUNTS;

/// A living flow.
pub(crate) struct Found {
    pub(crate) state: FlowState,
    entry: *mut FlowState,
    /// Whether it is in the table of established flows.
    is_established: bool,
}

/// Reads an entry as one word.
#[inline(always)]
fn read(entry: *mut FlowState) -> FlowState {
    // SAFETY: a live map value. Racing packets each read or write aligned words.
    unsafe { ptr::read_volatile(entry) }
}

#[inline(always)]
fn is_alive(state: FlowState, now: u32) -> bool {
    state.is_alive(now, config::lifetime(state.flags as usize % LIFETIMES))
}

#[inline(always)]
fn established_in(entry: Option<*mut FlowState>, now: u32) -> Option<Found> {
    let entry = entry?;
    let state = read(entry);
    is_alive(state, now).then_some(Found { state, entry, is_established: true })
}

#[inline(always)]
fn established<F: Family>(flow: &F::Flow, now: u32) -> Option<Found> {
    let found = established_in(F::flows().get_ptr_mut(flow), now);
    if found.is_some() || config::is_moving() == 0 {
        return found;
    }
    established_in(F::other_flows().get_ptr_mut(flow), now)
}

#[inline(always)]
fn opening_in<F: Family>(flow: &F::Flow, entry: Option<*mut FlowState>, now: u32) -> Option<Found> {
    let entry = entry?;
    let state = read(entry);
    if state.flags & flags::MOVED != 0 {
        // Moved since the look-up above, or forgotten.
        return established::<F>(flow, now);
    }
    is_alive(state, now).then_some(Found { state, entry, is_established: false })
}

/// The flow, if it is recorded and alive.
#[inline(always)]
pub(crate) fn find<F: Family>(flow: &F::Flow, now: u32) -> Option<Found> {
    if let Some(found) = established::<F>(flow, now) {
        return Some(found);
    }
    let found = opening_in::<F>(flow, F::opening().get_ptr_mut(flow), now);
    if found.is_some() || config::is_moving() == 0 {
        return found;
    }
    opening_in::<F>(flow, F::other_opening().get_ptr_mut(flow), now)
}

/// Inserts an entry, in place of any old one; returns whether there was room.
#[inline(always)]
pub(crate) fn insert<F: Family>(flow: &F::Flow, state: FlowState) -> bool {
    if F::opening().insert(flow, state, u64::from(BPF_NOEXIST)).is_ok() {
        count::<F>(|counts| counts.entered += 1);
        return true;
    }
    F::opening().insert(flow, state, 0).is_ok()
}

/// Replaces a living flow by another with the same ports, whose first packet is seen now.
#[inline(always)]
pub(crate) fn replace<F: Family>(
    found: &Found,
    flow: &F::Flow,
    direction: Direction,
    state: FlowState,
) -> bool {
    if found.state.is_initiator(direction) && state.flags & flags::NODE == 0 {
        write(found, state);
        return true;
    }
    // By the other end: a whole new entry, see `FlowState`.
    if found.is_established {
        return F::flows().insert(flow, state, 0).is_ok();
    }
    F::opening().insert(flow, state, 0).is_ok()
}

/// Advances a flow's state by a packet that was allowed, by policy or as a reply.
#[inline(always)]
pub(crate) fn advance<F: Family>(
    found: &Found,
    flow: &F::Flow,
    direction: Direction,
    role: u8,
    now: u32,
) {
    let next = found.state.after(direction, role, now);
    if next == found.state {
        return;
    }
    write(found, next);
    if found.is_established {
        if next.is_over() && insert::<F>(flow, next) {
            let _ = F::flows().remove(flow);
        }
    } else if next.is_established() {
        promote::<F>(found, flow, next);
    }
}

/// Writes the parts of a state that change in place.
#[inline(always)]
fn write(found: &Found, next: FlowState) {
    // SAFETY: as in `read`.
    unsafe {
        ptr::write_volatile(&raw mut (*found.entry).seen, next.seen);
        if next.flags != found.state.flags {
            ptr::write_volatile(&raw mut (*found.entry).flags, next.flags);
        }
    }
}

/// Moves an entry to the table of established flows. The old one stays until the LRU hash reuses
/// its place: a concurrent look-up finds one of the two.
#[inline(always)]
fn promote<F: Family>(found: &Found, flow: &F::Flow, next: FlowState) {
    let clean = FlowState { flags: next.flags & !flags::REFUSED, ..next };
    let flag = if F::flows().insert(flow, clean, 0).is_ok() {
        flags::MOVED
    } else if next.flags & flags::REFUSED == 0 {
        count::<F>(|counts| counts.refused += 1);
        flags::REFUSED
    } else {
        return;
    };
    // SAFETY: as in `read`.
    unsafe { ptr::write_volatile(&raw mut (*found.entry).flags, next.flags | flag) };
}

#[inline(always)]
fn count<F: Family>(change: impl FnOnce(&mut FlowCounts)) {
    let Some(counts) = FLOW_COUNTS.get_ptr_mut(u32::from(F::VERSION == 6)) else { return };
    // SAFETY: a live value of this CPU's.
    change(unsafe { &mut *counts });
}
