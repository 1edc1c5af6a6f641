//! New flows in the flow tables, and which ones make room for them
//! ([`enforcer_ebpf::contract::flow_table`]).

use core::ptr;

use enforcer_ebpf::contract::counters::FlowCounts;
use enforcer_ebpf::contract::flow::{FlowState, LIFETIMES, elapsed};
use enforcer_ebpf::contract::flow_table::displacement::{Resident, Residents, kind, victim};
use enforcer_ebpf::contract::flow_table::{
    self as places, Key, PLACES, choose, displaceable, from_word, open_to, tag, takes_second,
    to_word, with_tag,
};
use enforcer_ebpf::packet::Bytes as _;

use crate::program::family::Family;
use crate::program::flow_table::{entry_of, read, word_of, write};
use crate::program::frame::Frame;
use crate::program::maps::{FLOW_COUNTS, OVER_SHARE};
use crate::program::{clock, config};

/// Inserts a new flow; returns whether there was room.
#[inline(always)]
pub(crate) fn insert<F: Family>(
    frame: &Frame,
    flow: &F::Flow,
    hash: u64,
    state: FlowState,
) -> bool {
    let inserted = insert_word::<F>(frame, flow, hash, to_word(state)) != 0;
    if !inserted {
        count::<F>(|counts| counts.refused += 1);
    }
    inserted
}

/// Inserts a new flow if one of its groups has a free place and none has its tag; not 0 if so. The stack of the
/// short way has no room for [`insert`].
#[inline(always)]
pub(crate) fn insert_new<F: Family>(flow: &F::Flow, hash: u64, state: FlowState) -> u32 {
    if config::is_moving() != 0 {
        return 0;
    }
    u32::from(try_insert_new::<F>(flow, hash, to_word(state)).is_some())
}

#[inline(always)]
fn try_insert_new<F: Family>(flow: &F::Flow, hash: u64, state: u64) -> Option<()> {
    let [first, second] = places::groups(hash, config::flow_groups());
    let tag = tag(hash);
    let tags = |group| Some(read(F::flow_tags().get_ptr(group)?));
    let [in_first, in_second] = [tags(first)?, tags(second)?];
    if with_tag(in_first, tag) | with_tag(in_second, tag) != 0 {
        return None;
    }
    let [in_first, in_second] = [with_tag(in_first, 0), with_tag(in_second, 0)];
    if in_first | in_second == 0 {
        return None;
    }
    let (group, place) = free_place([first, second], [in_first, in_second], hash);
    fill::<F>(flow, hash, state, group, place)
}

/// The group and the place that a new flow takes. `free`: the free places of its two groups.
#[inline(always)]
fn free_place([first, second]: [u32; 2], free: [u64; 2], hash: u64) -> (u32, usize) {
    if takes_second(free[0], free[1]) {
        (second, choose(free[1], hash))
    } else {
        (first, choose(free[0], hash))
    }
}

/// A function of its own: all its ways come back in one state, so that the verifier proves once what follows.
#[inline(never)]
fn insert_word<F: Family>(frame: &Frame, flow: &F::Flow, hash: u64, state: u64) -> u32 {
    u32::from(try_insert::<F>(frame, flow, hash, state).is_some())
}

#[inline(always)]
fn try_insert<F: Family>(frame: &Frame, flow: &F::Flow, hash: u64, state: u64) -> Option<()> {
    let [first, second] = places::groups(hash, config::flow_groups());
    let tag = tag(hash);
    let tags = |group| Some(read(F::flow_tags().get_ptr(group)?));
    let [in_first, in_second] = [open_to(tags(first)?, tag), open_to(tags(second)?, tag)];
    let (group, place) = if in_first | in_second == 0 {
        (first, room::<F>(frame, first, hash, flow.tail().endpoint) as usize)
    } else {
        free_place([first, second], [in_first, in_second], hash)
    };
    if place >= PLACES {
        return None;
    }
    fill::<F>(flow, hash, state, group, place)
}

/// Writes a flow into a place.
#[inline(always)]
fn fill<F: Family>(flow: &F::Flow, hash: u64, state: u64, group: u32, place: usize) -> Option<()> {
    let tag = tag(hash);
    let entry = entry_of::<F>(F::flow_groups().get_ptr_mut(group)?, place);
    // Until the last word is written, the entry is no flow's.
    write(entry, 0);
    write(word_of(entry, places::STATE), state);
    for at in 0..F::Flow::WORDS {
        write(word_of(entry, places::KEY + at), flow.word(at));
    }
    write(entry, places::check(hash, from_word(state)));
    let tags = F::flow_tags().get_ptr_mut(group)?.cast::<u8>();
    // SAFETY: a byte of the group's word, written alone: other programs write the others.
    unsafe { ptr::write_volatile(tags.add(place), tag) };
    Some(())
}

/// A group without a free place for a new flow.
struct Full<'a, F: Family> {
    frame: &'a Frame,
    group: *mut F::Group,
    endpoint: u16,
    now: u32,
}

impl<F: Family> Residents for Full<'_, F> {
    #[inline(always)]
    fn resident(&self, place: usize) -> Resident {
        let entry = entry_of::<F>(self.group, place);
        let tail = read(word_of(entry, places::KEY + F::Flow::WORDS - 1));
        let state = from_word(read(word_of(entry, places::STATE)));
        let endpoint = places::endpoint_of(tail);
        let age = self.settle(elapsed(state.seen, self.now));
        let lifetime = config::lifetime(state.flags as usize % LIFETIMES);
        // Without branches: these would multiply for each place.
        let differing = u32::from(endpoint ^ self.endpoint);
        let is_dead = lifetime.wrapping_sub(age) >> 31;
        let is_own = differing.wrapping_sub(1) >> 31;
        let is_established = u32::from(state.is_established());
        let kind = (is_dead * kind::DEAD)
            | (is_own * kind::OWN)
            | (self.settle(over_share(endpoint)) * kind::OVER_SHARE)
            | (is_established * kind::ESTABLISHED);
        Resident { kind, age }
    }

    #[inline(always)]
    fn settle(&self, number: u32) -> u32 {
        self.frame.settle(number as usize) as u32
    }
}

/// 1 if the agent has found more flows of the endpoint than its share, else 0.
#[inline(always)]
fn over_share(endpoint: u16) -> u32 {
    // SAFETY: a live map value, read as one word.
    OVER_SHARE.get_ptr(u32::from(endpoint)).map_or(0, |it| unsafe { ptr::read_volatile(it) } & 1)
}

/// The place for a new flow in a group without a free one for it; [`PLACES`] if it is refused. A function
/// of its own, as [`insert_word`].
#[inline(never)]
fn room<F: Family>(frame: &Frame, group: u32, hash: u64, endpoint: u16) -> u32 {
    const REFUSED: u32 = PLACES as u32;
    let (Some(tags), Some(group)) =
        (F::flow_tags().get_ptr(group), F::flow_groups().get_ptr_mut(group))
    else {
        return REFUSED;
    };
    let displaceable = displaceable(read(tags), tag(hash));
    let full = Full::<F> { frame, group, endpoint, now: clock::now() };
    let Some(victim) = victim(over_share(endpoint) != 0, displaceable, &full) else {
        return REFUSED;
    };
    if victim.is_alive() {
        count::<F>(|counts| {
            let reduced = u64::from(victim.is_established());
            counts.reduced += reduced;
            counts.displaced += 1 - reduced;
        });
    }
    victim.place as u32
}

#[inline(always)]
fn count<F: Family>(change: impl FnOnce(&mut FlowCounts)) {
    let Some(counts) = FLOW_COUNTS.get_ptr_mut(u32::from(F::VERSION == 6)) else { return };
    // SAFETY: a live value of this CPU's.
    change(unsafe { &mut *counts });
}
