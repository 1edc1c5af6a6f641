//! Allowed first fragments: only they show ports, so later fragments follow (semantics P2).

use core::ptr;

use enforcer_ebpf::contract::endpoint::Endpoint;
use enforcer_ebpf::contract::flow::elapsed;
use enforcer_ebpf::contract::fragment::FragmentState;
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use enforcer_ebpf::packet::Packet;

use crate::program::clock;
use crate::program::family::Family;

/// For how long later fragments may follow the first, in buckets of the clock: 15 to 30 seconds,
/// the kernel's own time to reassemble an IPv4 packet.
const FRAGMENT_BUCKETS: u32 = 15;

/// Remembers that a first fragment was allowed.
#[inline(always)]
pub(crate) fn remember<F: Family>(
    endpoint: &Endpoint,
    direction: Direction,
    packet: &Packet<F::Address>,
    reason: Reason,
) {
    let key = F::fragments(packet, endpoint, direction);
    let state = FragmentState { seen: clock::now(), reason: reason as u32 };
    // If there is no room, the later fragments are dropped, as if the first had not been seen.
    let _ = F::fragment_table().insert(key, state, 0);
}

/// Why the first fragment of the same packet was allowed; `None` if it was not, or not seen.
#[inline(always)]
pub(crate) fn first<F: Family>(
    endpoint: &Endpoint,
    direction: Direction,
    packet: &Packet<F::Address>,
) -> Option<Reason> {
    let key = F::fragments(packet, endpoint, direction);
    let entry = F::fragment_table().get_ptr(key)?;
    // SAFETY: a live map value, read as one word.
    let state = unsafe { ptr::read_volatile(entry) };
    if elapsed(state.seen, clock::now()) > FRAGMENT_BUCKETS {
        return None;
    }
    Some(if state.reason == Reason::Reply as u32 { Reason::Reply } else { Reason::Policy })
}
