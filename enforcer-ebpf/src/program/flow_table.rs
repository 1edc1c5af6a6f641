//! Following flows: two tables, and how an entry gets from one to the other.
//!
//! A flow enters the table of *opening* flows, an LRU hash: a flood pushes out what is there, and
//! nothing else. Once it is established it moves to the table of *established* flows, a plain hash
//! from which nothing is ever pushed out; when it is over it goes back. Where that table is full
//! it stays among the opening ones, and is counted. Forgetting a flow only ever refuses a reply.

use core::ptr;

use aya_ebpf::bindings::BPF_NOEXIST;
use enforcer_ebpf::count::Direction;
use enforcer_ebpf::flow::{FlowCounts, FlowState, LIFETIMES, marks};

use crate::config;
use crate::family::Family;
use crate::maps::FLOW_COUNTS;

/// A living flow.
pub(crate) struct Found {
    pub(crate) state: FlowState,
    entry: *mut FlowState,
    /// Which table it is in.
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
    state.is_alive(now, config::lifetime(state.marks as usize % LIFETIMES))
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
    if state.marks & marks::MOVED != 0 {
        // Since it was not found above, or it has been forgotten.
        return established::<F>(flow, now);
    }
    is_alive(state, now).then_some(Found { state, entry, is_established: false })
}

/// The flow, if it is known and alive.
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

/// Makes an entry, in place of any old one.
#[inline(always)]
pub(crate) fn begin<F: Family>(flow: &F::Flow, state: FlowState) -> bool {
    if F::opening().insert(flow, state, u64::from(BPF_NOEXIST)).is_ok() {
        count::<F>(|counts| counts.entered += 1);
        return true;
    }
    F::opening().insert(flow, state, 0).is_ok()
}

/// The first packet of another flow with the same ports as a living one.
#[inline(always)]
pub(crate) fn begin_again<F: Family>(
    found: &Found,
    flow: &F::Flow,
    direction: Direction,
    state: FlowState,
) -> bool {
    if found.state.is_begun(direction) {
        write(found, state);
        return true;
    }
    // By the other end: an entry of its own, see `FlowState`.
    if found.is_established {
        return F::flows().insert(flow, state, 0).is_ok();
    }
    F::opening().insert(flow, state, 0).is_ok()
}

/// Takes note of a packet of a flow that was allowed: by policy, or as a reply.
#[inline(always)]
pub(crate) fn go_on<F: Family>(
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
        if next.is_over() && begin::<F>(flow, next) {
            let _ = F::flows().remove(flow);
        }
    } else if next.is_established() {
        promote::<F>(found, flow, next);
    }
}

/// Writes what of a state changes in place.
#[inline(always)]
fn write(found: &Found, next: FlowState) {
    // SAFETY: as in `read`.
    unsafe {
        ptr::write_volatile(&raw mut (*found.entry).seen, next.seen);
        if next.marks != found.state.marks {
            ptr::write_volatile(&raw mut (*found.entry).marks, next.marks);
        }
    }
}

/// Moves an entry to the table of established flows. The old one stays until the LRU hash needs
/// its place: whoever looks at this moment finds one of the two.
#[inline(always)]
fn promote<F: Family>(found: &Found, flow: &F::Flow, next: FlowState) {
    let clean = FlowState { marks: next.marks & !marks::REFUSED, ..next };
    let mark = if F::flows().insert(flow, clean, 0).is_ok() {
        marks::MOVED
    } else if next.marks & marks::REFUSED == 0 {
        count::<F>(|counts| counts.refused += 1);
        marks::REFUSED
    } else {
        return;
    };
    // SAFETY: as in `read`.
    unsafe { ptr::write_volatile(&raw mut (*found.entry).marks, next.marks | mark) };
}

#[inline(always)]
fn count<F: Family>(change: impl FnOnce(&mut FlowCounts)) {
    let Some(counts) = FLOW_COUNTS.get_ptr_mut(u32::from(F::VERSION == 6)) else { return };
    // SAFETY: a live value of this CPU's.
    change(unsafe { &mut *counts });
}
