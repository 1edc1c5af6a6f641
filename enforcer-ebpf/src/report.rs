//! Counting every packet, and telling the agent of dropped ones.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::maps::ring_buf::RingBufEntry;
use enforcer_ebpf::count::{Direction, Reason};
use enforcer_ebpf::endpoint::Endpoint;
use enforcer_ebpf::event::{EVENTS_PER_WINDOW, Event};

use crate::maps::{BUDGET, COUNTERS, EVENTS};
use crate::state;

/// Counts a packet of `length` bytes.
#[inline(always)]
pub(crate) fn count(endpoint: &Endpoint, direction: Direction, reason: Reason, length: u32) {
    let Some(counters) = COUNTERS.get_ptr_mut(endpoint.id) else { return };
    // SAFETY: a live value of this CPU's; both indices are constants of the enums.
    unsafe {
        let count = &mut (*counters).counts[direction as usize][reason as usize];
        count.packets += 1;
        count.bytes += u64::from(length);
    }
}

/// Room for an event, unless this CPU has sent enough of them lately.
#[inline(always)]
pub(crate) fn reserve() -> Option<RingBufEntry<Event>> {
    let budget = BUDGET.get_ptr_mut(0)?;
    let window = u64::from(state::now());
    // SAFETY: a live value of this CPU's.
    unsafe {
        if (*budget).window != window {
            (*budget).window = window;
            (*budget).left = EVENTS_PER_WINDOW;
        }
        if (*budget).left == 0 {
            (*budget).lost = (*budget).lost.wrapping_add(1);
            return None;
        }
        (*budget).left -= 1;
    }
    let slot = EVENTS.reserve::<Event>(0);
    if slot.is_none() {
        // SAFETY: as above.
        unsafe { (*budget).lost = (*budget).lost.wrapping_add(1) };
    }
    slot
}

/// Sends an event. The agent looks for them by itself: nobody is woken.
#[inline(always)]
pub(crate) fn send(mut slot: RingBufEntry<Event>, event: Event) {
    slot.write(event);
    slot.submit(u64::from(BPF_RB_NO_WAKEUP));
}
