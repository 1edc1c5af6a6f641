//! The flow tables: where the entry of a flow may be, and which one makes room for a new flow.
//!
//! A table is an array of groups of [`PLACES`] entries. Beside it, an array has a word of tags for
//! each group: for each place one byte of its flow's hash, 0 if the place is free. A flow may be in
//! one of two groups: a new one goes to the first unless three of its places are taken and the other is emptier. So a
//! look-up of a flow that is not there reads two words of a small array, and almost every other look-up
//! one entry more. Which place of its group a flow has, the hash decides, too, while that place is free:
//! then the address of the entry does not depend on the tags, and a CPU reads both at the same time; and
//! what looks for a flow that is probably there reads that entry alone. So who removes a flow clears its check
//! word, too: without its tag alone, it is still found.
//!
//! An entry is a check word, a [`FlowState`] and the whole key. The check word has the hash, and what
//! must never be seen together with another flow's key: the initiator. Programs on several CPUs write
//! without locks. An entry counts only if check word and key are the flow's, so one that two writers
//! have mixed is no flow's at all. Only a state may be another flow's for a moment; a wrong one costs a
//! reply, but allows none.

#![expect(clippy::cast_possible_truncation, reason = "parts of words are what is meant")]

use crate::contract::flow::{Flow4, Flow6, FlowState, FlowTail, flags};

/// Places in a group: the bytes of a word of tags.
pub const PLACES: usize = 8;

/// The position of the state in an entry, in words; the check word is the first.
pub const STATE: usize = 1;

/// The position of the key in an entry, in words.
pub const KEY: usize = 2;

/// A group of the table of IPv4 flows: entries of 4 words.
pub type Group4 = [[u64; 4]; PLACES];

/// A group of the table of IPv6 flows: entries of 8 words, the last one unused.
pub type Group6 = [[u64; 8]; PLACES];

/// The number of groups that have room for `flows` flows, which take three places in four. Then one new
/// flow in ten thousand finds no free place, and from there on quickly more.
#[must_use]
pub const fn groups_for(flows: u32) -> u32 {
    let places = flows as u64 * 4 / 3;
    let groups = places.div_ceil(PLACES as u64);
    if groups == 0 { 1 } else { groups as u32 }
}

/// The number of flows that a table of this many groups is made for.
#[must_use]
pub const fn flows_for(groups: u32) -> u64 {
    groups as u64 * PLACES as u64 * 3 / 4
}

/// The key of a flow, as words: those of its memory, on a machine with the lowest byte first.
pub trait Key: Copy + Eq {
    /// Words of the key.
    const WORDS: usize;
    /// Words of an entry.
    const ENTRY: usize;
    /// The word at a position below [`Self::WORDS`].
    fn word(&self, at: usize) -> u64;
    /// The key of these words. `None`: there are too few.
    fn from_words(words: &[u64]) -> Option<Self>;
    /// All words, as an array.
    type Words;
    /// The words in memory. A CPU that reads one of them there need not wait, unlike for a word that was written
    /// in two halves.
    fn to_words(self) -> Self::Words;
    /// The parts that both families share.
    fn tail(&self) -> &FlowTail;

    /// The hash. `secret`: keeps pods and clients from choosing flows that share their places.
    #[inline(always)]
    fn hash(&self, secret: u64) -> u64 {
        let mut state = secret;
        let mut at = 0;
        while at < Self::WORDS {
            state = fold(state, self.word(at));
            at += 1;
        }
        // Once more, so that each bit depends on all of the last word.
        fold(state, secret.rotate_left(32))
    }
}

#[inline(always)]
const fn fold(state: u64, word: u64) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let product = (state ^ word).wrapping_mul(FACTOR);
    product ^ (product >> 32)
}

#[inline(always)]
const fn tail_word(tail: &FlowTail) -> u64 {
    tail.local_port as u64
        | (tail.remote_port as u64) << 16
        | (tail.endpoint as u64) << 32
        | (tail.protocol as u64) << 48
}

/// The endpoint's id in the last word of a key.
#[inline(always)]
#[must_use]
pub const fn endpoint_of(tail: u64) -> u16 {
    (tail >> 32) as u16
}

const fn tail_of(word: u64) -> FlowTail {
    FlowTail {
        local_port: word as u16,
        remote_port: (word >> 16) as u16,
        endpoint: endpoint_of(word),
        protocol: (word >> 48) as u8,
        reserved: 0,
    }
}

impl Key for Flow4 {
    const WORDS: usize = 2;
    const ENTRY: usize = 4;
    type Words = [u64; 2];

    #[inline(always)]
    fn to_words(self) -> [u64; 2] {
        [self.word(0), self.word(1)]
    }

    #[inline(always)]
    fn word(&self, at: usize) -> u64 {
        match at {
            0 => self.local as u64 | (self.remote as u64) << 32,
            _ => tail_word(&self.tail),
        }
    }

    fn from_words(words: &[u64]) -> Option<Self> {
        let [addresses, tail, ..] = *words else { return None };
        let (local, remote) = (addresses as u32, (addresses >> 32) as u32);
        Some(Self { local, remote, tail: tail_of(tail) })
    }

    #[inline(always)]
    fn tail(&self) -> &FlowTail {
        &self.tail
    }
}

impl Key for Flow6 {
    const WORDS: usize = 5;
    const ENTRY: usize = 8;
    type Words = [u64; 5];

    #[inline(always)]
    fn to_words(self) -> [u64; 5] {
        [self.word(0), self.word(1), self.word(2), self.word(3), self.word(4)]
    }

    #[inline(always)]
    fn word(&self, at: usize) -> u64 {
        match at {
            0 => self.local[0],
            1 => self.local[1],
            2 => self.remote[0],
            3 => self.remote[1],
            _ => tail_word(&self.tail),
        }
    }

    fn from_words(words: &[u64]) -> Option<Self> {
        let [a, b, c, d, tail, ..] = *words else { return None };
        Some(Self { local: [a, b], remote: [c, d], tail: tail_of(tail) })
    }

    #[inline(always)]
    fn tail(&self) -> &FlowTail {
        &self.tail
    }
}

/// The bits of a check word that have no hash.
const UNHASHED: u64 = 7;
/// Distinguishes the check word of every flow from that of a free place.
const TAKEN: u64 = 4;
const NODE: u64 = 2;

/// The check word of a flow. `state`: only the parts that never change count.
#[inline(always)]
#[must_use]
pub const fn check(hash: u64, state: FlowState) -> u64 {
    let node = if state.flags & flags::NODE != 0 { NODE } else { 0 };
    hash & !UNHASHED | TAKEN | node | (state.initiator as u64 & 1)
}

/// Whether the check word is of a flow with this hash.
#[inline(always)]
#[must_use]
pub const fn has_hash(check: u64, hash: u64) -> bool {
    (check ^ hash) & !UNHASHED == 0 && check & TAKEN != 0
}

/// The state of an entry: the parts that never change are those of its check word.
#[inline(always)]
#[must_use]
pub const fn state(check: u64, state: FlowState) -> FlowState {
    let node = if check & NODE != 0 { flags::NODE } else { 0 };
    FlowState {
        seen: state.seen,
        flags: state.flags & !flags::NODE | node,
        initiator: (check & 1) as u16,
    }
}

/// A state as a word of an entry.
#[inline(always)]
#[must_use]
pub const fn to_word(state: FlowState) -> u64 {
    state.seen as u64 | (state.flags as u64) << 32 | (state.initiator as u64) << 48
}

/// The reverse of [`to_word`].
#[inline(always)]
#[must_use]
pub const fn from_word(word: u64) -> FlowState {
    FlowState { seen: word as u32, flags: (word >> 32) as u16, initiator: (word >> 48) as u16 }
}

/// The two groups where a flow may be, in a table of `count` groups.
#[inline(always)]
#[must_use]
pub const fn groups(hash: u64, count: u32) -> [u32; 2] {
    let count = count as u64;
    [(((hash >> 32) * count) >> 32) as u32, (((hash & 0xffff_ffff) * count) >> 32) as u32]
}

/// The tag of a flow: never 0. Its bits are not those that the groups depend on most.
#[inline(always)]
#[must_use]
pub const fn tag(hash: u64) -> u8 {
    let tag = (hash >> 32) & 0xff;
    // 1 instead of 0, without a branch.
    (tag + (tag.wrapping_sub(1) >> 63)) as u8
}

const LOWEST: u64 = 0x0101_0101_0101_0101;
const HIGHEST: u64 = 0x8080_8080_8080_8080;

/// Marks the places with this tag, by the highest bit of their byte. Tag 0: the free places.
#[inline(always)]
#[must_use]
pub const fn with_tag(tags: u64, tag: u8) -> u64 {
    let differing = tags ^ (tag as u64).wrapping_mul(LOWEST);
    !((differing & !HIGHEST).wrapping_add(!HIGHEST) | differing | !HIGHEST)
}

/// The most flows of a group that may have the same tag: a look-up tries as many.
pub const ALIKE: u64 = 2;

/// Whether a group has no place for another flow with this tag.
#[inline(always)]
#[must_use]
pub const fn is_crowded(tags: u64, tag: u8) -> bool {
    number_of(with_tag(tags, tag)) >= ALIKE
}

/// The number of marked places.
#[inline(always)]
#[must_use]
pub const fn number_of(marked: u64) -> u64 {
    (marked >> 7).wrapping_mul(LOWEST) >> 56
}

/// The first of the marked places; some place if none is marked.
#[inline(always)]
#[must_use]
pub const fn first_of(marked: u64) -> usize {
    // The byte of the first place is a 1, which shifts the place's number to the highest byte.
    const NUMBERS: u64 = 0x0001_0203_0405_0607;
    let lowest = marked & marked.wrapping_neg();
    ((lowest >> 7).wrapping_mul(NUMBERS) >> 56) as usize & (PLACES - 1)
}

/// The place that a flow takes while it is free.
#[inline(always)]
#[must_use]
pub const fn own_place(hash: u64) -> usize {
    (hash >> 40) as usize & (PLACES - 1)
}

/// The place that a look-up tries first, and that a new flow takes: of the marked ones, the flow's own, or
/// the first.
#[inline(always)]
#[must_use]
pub const fn choose(marked: u64, hash: u64) -> usize {
    let own = own_place(hash);
    // A branch, which the CPU predicts: it need not wait for the tags.
    if marked >> (own * 8 + 7) & 1 != 0 { own } else { first_of(marked) }
}

/// The marked places but one of them.
#[inline(always)]
#[must_use]
pub const fn without(marked: u64, place: usize) -> u64 {
    marked & !(0x80 << (place * 8))
}

/// Whether a new flow goes to the second of its groups, which have these free places. The first one is
/// preferred while hardly any of its places is taken: a look-up asks it first. With more of a preference, more
/// flows would find both of their groups full.
#[inline(always)]
#[must_use]
pub const fn takes_second(in_first: u64, in_second: u64) -> bool {
    let in_first = number_of(in_first);
    in_first + 2 < PLACES as u64 && number_of(in_second) > in_first
}

/// The free places of a group that a new flow with this tag may take.
#[inline(always)]
#[must_use]
pub const fn open_to(tags: u64, tag: u8) -> u64 {
    if is_crowded(tags, tag) { 0 } else { with_tag(tags, 0) }
}

/// The places of a group without free ones that a new flow with this tag may take: in a crowded group,
/// only those of flows like it.
#[inline(always)]
#[must_use]
pub const fn displaceable(tags: u64, tag: u8) -> u64 {
    let alike = with_tag(tags, tag);
    if number_of(alike) >= ALIKE { alike } else { HIGHEST }
}

pub mod displacement;

#[cfg(test)]
mod tests;
