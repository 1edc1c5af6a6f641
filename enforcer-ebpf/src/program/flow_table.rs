//! The flow tables as the programs use them; how they work is in the contract
//! ([`enforcer_ebpf::contract::flow_table`]).
//!
//! The worst effect of a forgotten flow is a denied reply.

use core::ptr;

use enforcer_ebpf::contract::counters::FlowCounts;
use enforcer_ebpf::contract::flow::{FlowState, LIFETIMES, elapsed};
use enforcer_ebpf::contract::flow_table::displacement::{Resident, Residents, kind, victim};
use enforcer_ebpf::contract::flow_table::{
    self as places, Key, PLACES, choose, displaceable, first_of, from_word, has_hash, open_to, tag,
    takes_second, to_word, with_tag, without,
};
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_ebpf::packet::Bytes as _;

use crate::program::family::Family;
use crate::program::frame::Frame;
use crate::program::maps::{FLOW_COUNTS, OVER_SHARE};
use crate::program::{clock, config};

/// A flow's entry.
pub(crate) struct Found {
    pub(crate) state: FlowState,
    entry: *mut u64,
}

impl Found {
    /// Whether the flow is alive. If not, its entry is reused if it begins again.
    #[inline(always)]
    pub(crate) fn is_alive(&self, now: u32) -> bool {
        self.state.is_alive(now, config::lifetime(self.state.flags as usize % LIFETIMES))
    }
}

/// Reads a word of a table. Racing packets each read or write aligned words.
#[inline(always)]
fn read(word: *const u64) -> u64 {
    // SAFETY: the callers' pointers are within live map values.
    unsafe { ptr::read_volatile(word) }
}

#[inline(always)]
fn write(word: *mut u64, value: u64) {
    // SAFETY: as in `read`.
    unsafe { ptr::write_volatile(word, value) }
}

/// The word of an entry at a position within it.
#[inline(always)]
fn word_of(entry: *mut u64, at: usize) -> *mut u64 {
    // SAFETY: the callers' positions are below `Key::ENTRY`.
    unsafe { entry.add(at) }
}

/// The hash of a flow.
#[inline(always)]
pub(crate) fn hash<F: Family>(flow: &F::Flow) -> u64 {
    flow.hash(config::flow_secret())
}

/// The entry of the flow with this hash, alive or not.
#[inline(always)]
pub(crate) fn entry<F: Family>(flow: &F::Flow, hash: u64) -> Option<Found> {
    let mut entry = locate::<F>(flow, hash);
    if entry.is_null() && config::is_moving() != 0 {
        entry = locate_other::<F>(flow, hash);
    }
    if entry.is_null() {
        return None;
    }
    let state = places::state(read(entry), from_word(read(word_of(entry, places::STATE))));
    Some(Found { state, entry })
}

/// The flow with this hash, if it is recorded and alive.
#[inline(always)]
pub(crate) fn find<F: Family>(flow: &F::Flow, hash: u64, now: u32) -> Option<Found> {
    entry::<F>(flow, hash).filter(|it| it.is_alive(now))
}

/// The entry of a flow, or null. A function of its own: all its ways come back in one state, so that
/// the verifier proves once what follows.
#[inline(never)]
fn locate<F: Family>(flow: &F::Flow, hash: u64) -> *mut u64 {
    let [first, second] = places::groups(hash, config::flow_groups());
    let (tags, groups) = (F::flow_tags(), F::flow_groups());
    let entry = in_group::<F>(flow, hash, tags.get_ptr(first), groups.get_ptr_mut(first));
    if !entry.is_null() {
        return entry;
    }
    in_group::<F>(flow, hash, tags.get_ptr(second), groups.get_ptr_mut(second))
}

/// The same in the table of another size.
#[inline(never)]
fn locate_other<F: Family>(flow: &F::Flow, hash: u64) -> *mut u64 {
    let [first, second] = places::groups(hash, config::other_flow_groups());
    let (tags, groups) = (F::other_flow_tags(), F::other_flow_groups());
    let entry = in_group::<F>(flow, hash, tags.get_ptr(first), groups.get_ptr_mut(first));
    if !entry.is_null() {
        return entry;
    }
    in_group::<F>(flow, hash, tags.get_ptr(second), groups.get_ptr_mut(second))
}

#[inline(always)]
fn in_group<F: Family>(
    flow: &F::Flow,
    hash: u64,
    tags: Option<*const u64>,
    group: Option<*mut F::Group>,
) -> *mut u64 {
    let (Some(tags), Some(group)) = (tags, group) else { return ptr::null_mut() };
    let marked = with_tag(read(tags), tag(hash));
    let place = choose(marked, hash);
    let entry = if_flows::<F>(flow, hash, marked, group, place);
    if !entry.is_null() {
        return entry;
    }
    let others = without(marked, place);
    if_flows::<F>(flow, hash, others, group, first_of(others))
}

/// The entry in this one of the marked places if it is the flow's, or null.
#[inline(always)]
fn if_flows<F: Family>(
    flow: &F::Flow,
    hash: u64,
    marked: u64,
    group: *mut F::Group,
    place: usize,
) -> *mut u64 {
    let entry = entry_of::<F>(group, place);
    if marked != 0 && has_hash(read(entry), hash) && has_key::<F>(entry, flow) {
        entry
    } else {
        ptr::null_mut()
    }
}

#[inline(always)]
fn entry_of<F: Family>(group: *mut F::Group, place: usize) -> *mut u64 {
    word_of(group.cast(), (place & (PLACES - 1)) * F::Flow::ENTRY)
}

#[inline(always)]
fn has_key<F: Family>(entry: *mut u64, flow: &F::Flow) -> bool {
    let words = ptr::from_ref(flow).cast::<u64>();
    for at in 0..F::Flow::WORDS {
        // SAFETY: the key's words. Read each time: in registers, they would not all fit, and the rest
        // would take too much of the stack.
        let word = unsafe { ptr::read_volatile(words.add(at)) };
        if read(word_of(entry, places::KEY + at)) != word {
            return false;
        }
    }
    true
}

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

/// A function of its own, as [`locate`].
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
    } else if takes_second(in_first, in_second) {
        (second, choose(in_second, hash))
    } else {
        (first, choose(in_first, hash))
    };
    if place >= PLACES {
        return None;
    }
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
/// of its own, as [`locate`].
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

/// Replaces a living flow by another with the same ports, whose first packet is seen now.
#[inline(always)]
pub(crate) fn replace(found: &Found, hash: u64, state: FlowState) {
    write(word_of(found.entry, places::STATE), to_word(state));
    write(found.entry, places::check(hash, state));
}

/// Advances a flow's state by a packet that was allowed, by policy or as a reply.
#[inline(always)]
pub(crate) fn advance(found: &Found, direction: Direction, role: u8, now: u32) {
    let next = found.state.after(direction, role, now);
    if next != found.state {
        write(word_of(found.entry, places::STATE), to_word(next));
    }
}

#[inline(always)]
fn count<F: Family>(change: impl FnOnce(&mut FlowCounts)) {
    let Some(counts) = FLOW_COUNTS.get_ptr_mut(u32::from(F::VERSION == 6)) else { return };
    // SAFETY: a live value of this CPU's.
    change(unsafe { &mut *counts });
}
