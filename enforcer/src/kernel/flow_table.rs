//! A flow table as the agent reads and writes it, beside the programs
//! ([`enforcer_ebpf::contract::flow_table`]).
//!
//! The agent claims and frees places by compare-and-swap; the programs don't. Where both take a place at
//! the same time, one of the two flows may be lost: a denied reply.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Ebpf;
use aya::maps::{Map, MapData};
use enforcer_ebpf::contract::flow::FlowState;
use enforcer_ebpf::contract::flow_table::{
    self as places, KEY, Key, PLACES, STATE, choose, first_of, flows_for, from_word, has_hash,
    open_to, tag, takes_second, to_word, with_tag, without,
};

use super::KernelError;
use super::mapped_words::MappedWords;

/// Bytes of a word.
const WORD: usize = size_of::<u64>();

/// A table of flows of one family.
pub(super) struct Table<K> {
    names: Names,
    /// The tags, and the entries.
    maps: [MapData; 2],
    groups: u32,
    secret: u64,
    key: PhantomData<fn() -> K>,
}

/// A table, mapped into memory.
pub(super) struct View<K> {
    tags: MappedWords,
    entries: MappedWords,
    groups: u32,
    secret: u64,
    key: PhantomData<fn() -> K>,
}

/// The names of its two parts: the tags and the entries.
pub(super) type Names = [&'static str; 2];

/// What became of a flow that was to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    /// It is in the table now.
    New,
    /// It was there, and is replaced.
    Replaced,
    /// It was there, and is unchanged.
    Known,
    /// There is no place for it.
    Refused,
}

/// An entry, as it was read.
struct Entry<K> {
    place: usize,
    check: u64,
    key: K,
    state: FlowState,
}

impl<K: Key> Table<K> {
    /// Takes a table out of `ebpf`. `secret`: of the flows' hash.
    pub(super) fn take(ebpf: &mut Ebpf, names: Names, secret: u64) -> Result<Self, KernelError> {
        let map = |name| match ebpf.take_map(name) {
            Some(Map::Array(data)) => Ok(data),
            _ => Err(KernelError::NoTable(name)),
        };
        Self::of(names, names.map(map), secret)
    }

    /// Opens a pinned table.
    pub(super) fn open(folder: &Path, names: Names, secret: u64) -> Result<Self, KernelError> {
        let map = |name| MapData::from_pin(folder.join(name)).map_err(KernelError::table(name));
        Self::of(names, names.map(map), secret)
    }

    fn of(
        [tags, entries]: Names,
        maps: [Result<MapData, KernelError>; 2],
        secret: u64,
    ) -> Result<Self, KernelError> {
        let [tag_map, entry_map] = maps;
        let (tag_map, entry_map) = (tag_map?, entry_map?);
        let size = K::ENTRY * PLACES * WORD;
        let shape = |name, map: &MapData| {
            let info = map.info().map_err(KernelError::table(name))?;
            Ok::<_, KernelError>((info.max_entries(), info.value_size() as usize))
        };
        let (groups, width) = shape(tags, &tag_map)?;
        if shape(entries, &entry_map)? != (groups, size) || width != WORD {
            return Err(KernelError::NoTable(entries));
        }
        let names = [tags, entries];
        Ok(Self { names, maps: [tag_map, entry_map], groups, secret, key: PhantomData })
    }

    /// The number of flows that it is made for.
    pub(super) fn limit(&self) -> u64 {
        flows_for(self.groups)
    }

    /// Maps the table into memory: 45 bytes (IPv4) or 90 bytes (IPv6) a flow.
    pub(super) fn view(&self) -> Result<View<K>, KernelError> {
        let [tags, entries] = &self.maps;
        let groups = self.groups as usize;
        Ok(View {
            tags: MappedWords::new(self.names[0], tags, groups)?,
            entries: MappedWords::new(self.names[1], entries, groups * PLACES * K::ENTRY)?,
            groups: self.groups,
            secret: self.secret,
            key: PhantomData,
        })
    }
}

impl<K: Key> View<K> {
    /// The words of an entry. `place`: counted through all groups.
    fn words(&self, place: usize) -> &[AtomicU64] {
        let start = place * K::ENTRY;
        self.entries.all().get(start..start + K::ENTRY).unwrap_or_default()
    }

    fn entry(&self, place: usize) -> Option<Entry<K>> {
        let mut words = [0; 8];
        for (word, shared) in words.iter_mut().zip(self.words(place)) {
            *word = shared.load(Ordering::Acquire);
        }
        let [check, state, key @ ..] = words;
        if check == 0 {
            return None;
        }
        let state = places::state(check, from_word(state));
        Some(Entry { place, check, key: K::from_words(&key)?, state })
    }

    /// Calls `take` for each flow.
    pub(super) fn for_each(&self, mut take: impl FnMut(&K, FlowState)) {
        for place in 0..self.groups as usize * PLACES {
            if let Some(Entry { key, state, .. }) = self.entry(place) {
                take(&key, state);
            }
        }
    }

    /// Removes the entries that `keep` does not select, and those of no flow. Its third argument is the
    /// flow's hash with its initiator.
    pub(super) fn retain(&self, mut keep: impl FnMut(&K, FlowState, u64) -> bool) {
        for place in 0..self.groups as usize * PLACES {
            let Some(entry) = self.entry(place) else { continue };
            let is_whole = has_hash(entry.check, entry.key.hash(self.secret));
            if !is_whole || !keep(&entry.key, entry.state, entry.check) {
                self.remove(&entry);
            }
        }
    }

    /// Frees a place. First its tag, then its check word: programs that take the place in between write
    /// another check word, which stays.
    fn remove(&self, entry: &Entry<K>) {
        let (group, shift) = (entry.place / PLACES, entry.place % PLACES * 8);
        if let Some(tags) = self.tags.all().get(group) {
            tags.fetch_and(!(0xff << shift), Ordering::AcqRel);
        }
        if let [check, ..] = self.words(entry.place) {
            let _ = check.compare_exchange(entry.check, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// The place of a flow.
    fn locate(&self, key: &K, hash: u64) -> Option<Entry<K>> {
        for group in places::groups(hash, self.groups) {
            let tags = self.tags.all().get(group as usize)?.load(Ordering::Acquire);
            let all = with_tag(tags, tag(hash));
            for marked in [all, without(all, first_of(all))] {
                let entry = self.entry(group as usize * PLACES + first_of(marked));
                let found = entry.filter(|it| has_hash(it.check, hash) && it.key == *key);
                if marked != 0 && found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// Adds a flow; replaces a known one if `replaces` says so of its state.
    pub(super) fn add(
        &self,
        key: &K,
        state: FlowState,
        replaces: impl Fn(FlowState) -> bool,
    ) -> Added {
        let hash = key.hash(self.secret);
        if let Some(known) = self.locate(key, hash) {
            if !replaces(known.state) {
                return Added::Known;
            }
            if let [check, words @ ..] = self.words(known.place)
                && let Some(word) = words.get(STATE - 1)
            {
                word.store(to_word(state), Ordering::Release);
                check.store(places::check(hash, state), Ordering::Release);
            }
            return Added::Replaced;
        }
        let Some(place) = self.claim(hash) else { return Added::Refused };
        if let [check, words @ ..] = self.words(place) {
            check.store(0, Ordering::Release);
            for (at, word) in words.iter().enumerate() {
                let at = at + 1;
                let value = match at.checked_sub(KEY) {
                    None => to_word(state),
                    Some(at) if at < K::WORDS => key.word(at),
                    Some(_) => 0,
                };
                word.store(value, Ordering::Release);
            }
            check.store(places::check(hash, state), Ordering::Release);
        }
        Added::New
    }

    /// Takes a free place in one of the two groups of a flow.
    fn claim(&self, hash: u64) -> Option<usize> {
        let tag = tag(hash);
        let [first, second] = places::groups(hash, self.groups).map(|it| it as usize);
        loop {
            let word = |group: usize| self.tags.all().get(group);
            let tags = [word(first)?, word(second)?].map(|it| it.load(Ordering::Acquire));
            let [in_first, in_second] = tags.map(|it| open_to(it, tag));
            let (group, tags, open) = if takes_second(in_first, in_second) {
                (second, tags[1], in_second)
            } else {
                (first, tags[0], in_first)
            };
            if open == 0 {
                return None;
            }
            let place = choose(open, hash);
            let taken = tags | u64::from(tag) << (place * 8);
            let claimed =
                word(group)?.compare_exchange(tags, taken, Ordering::AcqRel, Ordering::Relaxed);
            if claimed.is_ok() {
                return Some(group * PLACES + place);
            }
        }
    }
}
