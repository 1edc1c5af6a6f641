//! The flow tables as the programs use them; how they work is in the contract
//! ([`enforcer_ebpf::contract::flow_table`]).
//!
//! The worst effect of a forgotten flow is a denied reply.

use core::ptr;

use enforcer_ebpf::contract::flow::{FlowState, LIFETIMES};
use enforcer_ebpf::contract::flow_table::{
    self as places, Key, PLACES, choose, first_of, from_word, has_hash, own_place, tag, to_word,
    with_tag, without,
};
use enforcer_ebpf::contract::verdict::Direction;

use crate::program::config;
use crate::program::family::Family;

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
pub(crate) fn read(word: *const u64) -> u64 {
    // SAFETY: the callers' pointers are within live map values.
    unsafe { ptr::read_volatile(word) }
}

#[inline(always)]
pub(crate) fn write(word: *mut u64, value: u64) {
    // SAFETY: as in `read`.
    unsafe { ptr::write_volatile(word, value) }
}

/// The word of an entry at a position within it.
#[inline(always)]
pub(crate) fn word_of(entry: *mut u64, at: usize) -> *mut u64 {
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
    let words = ptr::from_ref(flow).cast();
    in_any_table::<F>(words, hash, locate::<F>(words, hash))
}

/// The entry that was found, or one in the table of another size.
#[inline(always)]
fn in_any_table<F: Family>(words: *const u64, hash: u64, mut entry: *mut u64) -> Option<Found> {
    if entry.is_null() && config::is_moving() != 0 {
        entry = locate_other::<F>(words, hash);
    }
    (!entry.is_null()).then(|| found(entry))
}

/// The flow with this hash, if it is recorded and alive.
#[inline(always)]
pub(crate) fn find<F: Family>(flow: &F::Flow, hash: u64, now: u32) -> Option<Found> {
    entry::<F>(flow, hash).filter(|it| it.is_alive(now))
}

/// As [`entry`], without a call: for the short way, where a call takes as long as the look-up. For flows that are
/// probably recorded.
#[inline(always)]
pub(crate) fn entry_in_place<F: Family>(flow: &F::Flow, hash: u64) -> Option<Found> {
    let words = flow.to_words();
    let words = ptr::from_ref(&words).cast();
    let mut entry = in_own_place::<F>(words, hash);
    if entry.is_null() {
        entry = search::<F>(words, hash);
    }
    // While flows are being moved, it may be in the table of another size.
    if entry.is_null() && config::is_moving() != 0 {
        entry = search_other::<F>(words, hash);
    }
    (!entry.is_null()).then(|| found(entry))
}

/// Where the flow with this hash probably is; `None`: it is not recorded. Without a call, for packets of which
/// most have no flow.
#[inline(always)]
pub(crate) fn candidate<F: Family>(hash: u64) -> Option<Candidate> {
    let [first, second] = places::groups(hash, config::flow_groups());
    let marked =
        |group| F::flow_tags().get_ptr(group).map_or(0, |tags| with_tag(read(tags), tag(hash)));
    let of = |group: u32, marked| {
        Some(Candidate(u64::from(group) * PLACES as u64 + choose(marked, hash) as u64))
    };
    let in_first = marked(first);
    if in_first != 0 {
        return of(first, in_first);
    }
    let in_second = marked(second);
    // While flows are being moved, it may be in the other table.
    if in_second != 0 || config::is_moving() != 0 {
        return of(second, in_second);
    }
    None
}

/// The number of a place in the table.
#[derive(Clone, Copy)]
pub(crate) struct Candidate(pub(crate) u64);

/// As [`entry`], of a flow with a [`candidate`].
#[inline(always)]
pub(crate) fn entry_at<F: Family>(flow: &F::Flow, hash: u64, at: Candidate) -> Option<Found> {
    only_at::<F>(flow, hash, at).or_else(|| entry::<F>(flow, hash))
}

/// The entry of this [`candidate`], if it is the flow's.
#[inline(always)]
pub(crate) fn only_at<F: Family>(flow: &F::Flow, hash: u64, at: Candidate) -> Option<Found> {
    let group = F::flow_groups().get_ptr_mut((at.0 / PLACES as u64) as u32)?;
    let entry = entry_of::<F>(group, at.0 as usize);
    let has_word = |at| read(word_of(entry, places::KEY + at)) == flow.word(at);
    let is_flows = has_hash(read(entry), hash) && (0..F::Flow::WORDS).all(has_word);
    is_flows.then(|| found(entry))
}

#[inline(always)]
fn found(entry: *mut u64) -> Found {
    let state = places::state(read(entry), from_word(read(word_of(entry, places::STATE))));
    Found { state, entry }
}

/// The entry of a flow, or null. A function of its own: all its ways come back in one state, so that
/// the verifier proves once what follows.
///
/// `words`: of the key.
#[inline(never)]
fn locate<F: Family>(words: *const u64, hash: u64) -> *mut u64 {
    search::<F>(words, hash)
}

#[inline(always)]
fn search<F: Family>(words: *const u64, hash: u64) -> *mut u64 {
    let [first, second] = places::groups(hash, config::flow_groups());
    let (tags, groups) = (F::flow_tags(), F::flow_groups());
    let entry = in_group::<F>(words, hash, tags.get_ptr(first), || groups.get_ptr_mut(first));
    if !entry.is_null() {
        return entry;
    }
    in_group::<F>(words, hash, tags.get_ptr(second), || groups.get_ptr_mut(second))
}

/// The entry in the flow's own place of its first group, or null. Reads no tags: an entry's check word and key say
/// whose it is, and most flows are there, so that one cache line is read instead of two.
#[inline(always)]
fn in_own_place<F: Family>(words: *const u64, hash: u64) -> *mut u64 {
    let [first, _] = places::groups(hash, config::flow_groups());
    let Some(group) = F::flow_groups().get_ptr_mut(first) else { return ptr::null_mut() };
    if_flows::<F>(words, hash, group, own_place(hash))
}

/// The same in the table of another size.
#[inline(never)]
fn locate_other<F: Family>(words: *const u64, hash: u64) -> *mut u64 {
    search_other::<F>(words, hash)
}

#[inline(always)]
fn search_other<F: Family>(words: *const u64, hash: u64) -> *mut u64 {
    let [first, second] = places::groups(hash, config::other_flow_groups());
    let (tags, groups) = (F::other_flow_tags(), F::other_flow_groups());
    let entry = in_group::<F>(words, hash, tags.get_ptr(first), || groups.get_ptr_mut(first));
    if !entry.is_null() {
        return entry;
    }
    in_group::<F>(words, hash, tags.get_ptr(second), || groups.get_ptr_mut(second))
}

#[inline(always)]
fn in_group<F: Family>(
    words: *const u64,
    hash: u64,
    tags: Option<*const u64>,
    group: impl FnOnce() -> Option<*mut F::Group>,
) -> *mut u64 {
    let Some(tags) = tags else { return ptr::null_mut() };
    let marked = with_tag(read(tags), tag(hash));
    if marked == 0 {
        return ptr::null_mut();
    }
    let Some(group) = group() else { return ptr::null_mut() };
    let place = choose(marked, hash);
    let entry = if_flows::<F>(words, hash, group, place);
    if !entry.is_null() {
        return entry;
    }
    let others = without(marked, place);
    if others == 0 {
        return ptr::null_mut();
    }
    if_flows::<F>(words, hash, group, first_of(others))
}

/// The entry in this place if it is the flow's, or null.
#[inline(always)]
fn if_flows<F: Family>(
    words: *const u64,
    hash: u64,
    group: *mut F::Group,
    place: usize,
) -> *mut u64 {
    let entry = entry_of::<F>(group, place);
    if has_hash(read(entry), hash) && has_key::<F>(entry, words) { entry } else { ptr::null_mut() }
}

#[inline(always)]
pub(crate) fn entry_of<F: Family>(group: *mut F::Group, place: usize) -> *mut u64 {
    word_of(group.cast(), (place & (PLACES - 1)) * F::Flow::ENTRY)
}

#[inline(always)]
fn has_key<F: Family>(entry: *mut u64, words: *const u64) -> bool {
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
