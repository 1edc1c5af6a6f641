//! Port sets and port classes.
//!
//! Equal port sets have the same id while some row uses them. A *port class* is a set of
//! (protocol, port) values that no live port set distinguishes. A new set may split classes. The
//! part inside gets a new class id, which first gets its bits in all live sets (no port has that
//! class yet); then the ports are moved to it one by one. For every live set, a port is in the set
//! before its move if and only if it is after. Class 0 is for the ports in no set.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use enforcer_ebpf::contract::entry::Cell;
use enforcer_ebpf::contract::table::PORT_SET_WORDS;

use super::alloc::Pool;
use super::shortage::{Full, Table};
use super::sizes;
use super::step::Step;
use super::writer::Writer;
use crate::interner::Interner;
use crate::numbered::NumberMap;
use crate::policy::PortSet;

/// A range of ports of the same class: first and last.
type Span = (u32, u32, u32);

/// The words of a set's bitmap. Longer than the kernel's only in a measurement without limits.
type Bits = Arc<Vec<u64>>;

/// A new class and the class that it was split from.
type Split = (u32, u32);

/// What the kernel's port tables hold.
#[derive(Debug, Clone)]
pub(super) struct Ports {
    /// The class of each port: sorted spans without holes.
    spans: Arc<Vec<Span>>,
    /// The live sets.
    ids: HashMap<Arc<PortSet>, u32>,
    /// By set id; sets that are not in use keep their last contents.
    bits: Vec<Bits>,
    sets: Pool,
    classes: Pool,
}

impl Ports {
    /// Zeroed tables of `sets` port sets, and the fixed number of classes unless `unlimited`.
    pub(super) fn new(sets: u32, unlimited: bool) -> Self {
        let classes = if unlimited { sizes::PORTS } else { sizes::PORT_CLASSES };
        Self {
            spans: Arc::new(vec![(0, sizes::PORTS - 1, 0)]),
            ids: HashMap::new(),
            bits: Vec::new(),
            sets: Pool::new(Table::PortSets, Cell::FIRST_SET, sets.max(Cell::FIRST_SET)),
            classes: Pool::new(Table::PortClasses, 1, classes),
        }
    }

    /// The numbers of port sets and of port classes in use.
    pub(super) fn used(&self) -> (u32, u32) {
        (self.sets.used(), self.classes.used())
    }

    /// The numbers of port sets and of port classes that have ever been in use.
    pub(super) fn high_water(&self) -> (u32, u32) {
        (self.sets.high_water(), self.classes.high_water())
    }

    /// The id of a live set.
    pub(super) fn id(&self, set: &PortSet) -> Option<u32> {
        self.ids.get(set).copied()
    }

    /// Makes these sets live. Sets that are live already need no steps.
    pub(super) fn add(
        &mut self,
        wanted: &BTreeSet<&PortSet>,
        writer: &mut Writer,
    ) -> Result<(), Full> {
        let new: Vec<Arc<PortSet>> = wanted
            .iter()
            .filter(|&&set| !self.ids.contains_key(set))
            .map(|&set| Arc::new(set.clone()))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let (parts, members) = split(&self.spans, &new);
        let (spans, parents) = self.number(&parts, writer)?;
        self.grow_live_sets(&parents, writer);
        let mut bitmaps = vec![vec![0; PORT_SET_WORDS]; new.len()];
        for (class, number) in membership(&parts, &spans) {
            members[number]
                .positions()
                .for_each(|position| put(&mut bitmaps[position], class, true));
        }
        for (set, bits) in new.into_iter().zip(bitmaps) {
            let id = self.sets.take(writer)?;
            self.write_set(id, bits, writer);
            self.ids.insert(set, id);
        }
        self.flip(spans, writer);
        Ok(())
    }

    /// Removes the sets that are not among `used`. Joins classes that are no longer distinguished if
    /// there are many of them.
    pub(super) fn keep(&mut self, used: &BTreeSet<u32>, writer: &mut Writer) {
        let mut unused: Vec<u32> =
            self.ids.values().copied().filter(|id| !used.contains(id)).collect();
        if unused.is_empty() {
            return;
        }
        unused.sort_unstable();
        self.ids.retain(|_, id| used.contains(id));
        for id in unused {
            self.sets.free(id, writer);
        }
        // Each range has two ends, so at most twice as many classes are distinguished.
        let ranges: usize = self.ids.keys().flat_map(|set| set.ranges.values()).map(Vec::len).sum();
        if self.classes.live() > 16 + 4 * ranges {
            self.join_classes(writer);
        }
    }

    /// Assigns a class to each distinct (class, membership). Returns the new spans, and the new
    /// classes with the classes from which they were split.
    fn number(
        &mut self,
        parts: &[Part],
        writer: &mut Writer,
    ) -> Result<(Vec<Span>, Vec<Split>), Full> {
        let mut sizes: NumberMap<(u32, usize), u32> = NumberMap::default();
        for part in parts {
            *sizes.entry((part.class, part.members)).or_default() += part.last - part.first + 1;
        }
        // A class keeps its id for its largest part, class 0 for the part that is still in no set.
        let mut keeps: NumberMap<u32, (u32, usize)> = NumberMap::default();
        for part in parts {
            let size = match part.class {
                0 if part.members == NO_MEMBERS => u32::MAX,
                0 => continue,
                _ => sizes[&(part.class, part.members)],
            };
            let best = keeps.entry(part.class).or_insert((size, part.members));
            if size > best.0 {
                *best = (size, part.members);
            }
        }
        let mut ids: NumberMap<(u32, usize), u32> =
            keeps.into_iter().map(|(class, (_, members))| ((class, members), class)).collect();
        let mut spans: Vec<Span> = Vec::new();
        let mut parents = Vec::new();
        for part in parts {
            let key = (part.class, part.members);
            let class = match ids.get(&key) {
                Some(&class) => class,
                None => {
                    let class = self.classes.take(writer)?;
                    ids.insert(key, class);
                    parents.push((class, part.class));
                    class
                }
            };
            push_span(&mut spans, (part.first, part.last, class));
        }
        Ok((spans, parents))
    }

    /// Adds the new classes to the live sets that contain their parents.
    fn grow_live_sets(&mut self, parents: &[Split], writer: &mut Writer) {
        let mut live: Vec<u32> = self.ids.values().copied().collect();
        live.sort_unstable();
        for id in live {
            let mut bits = Vec::clone(&self.bits[id as usize]);
            for &(class, parent) in parents {
                let inside = has(&bits, parent);
                put(&mut bits, class, inside);
            }
            self.write_set(id, bits, writer);
        }
    }

    /// Writes the words of a set that differ from the kernel's.
    fn write_set(&mut self, id: u32, mut bits: Vec<u64>, writer: &mut Writer) {
        let at = id as usize;
        if at >= self.bits.len() {
            self.bits.resize(at + 1, Arc::new(vec![0; PORT_SET_WORDS]));
        }
        let length = bits.len().max(self.bits[at].len());
        bits.resize(length, 0);
        for (word, &value) in (0u32..).zip(&bits) {
            if self.bits[at].get(word as usize).copied().unwrap_or(0) != value {
                writer.push(Step::PortSetWord { set: id, word, bits: value });
            }
        }
        self.bits[at] = Arc::new(bits);
    }

    /// Moves the ports to their new classes, and frees the classes that are empty afterwards.
    fn flip(&mut self, spans: Vec<Span>, writer: &mut Writer) {
        let before = classes_of(&self.spans);
        let mut at = 0;
        for &(first, last, class) in &spans {
            for port in first..=last {
                while self.spans[at].1 < port {
                    at += 1;
                }
                if self.spans[at].2 != class {
                    writer.push(port_step(port, class));
                }
            }
        }
        let after = classes_of(&spans);
        self.spans = Arc::new(spans);
        for &class in before.difference(&after).filter(|&&class| class != 0) {
            self.classes.free(class, writer);
        }
    }

    /// Joins classes that are in the same live sets.
    fn join_classes(&mut self, writer: &mut Writer) {
        let mut live: Vec<u32> = self.ids.values().copied().collect();
        live.sort_unstable();
        let mut sizes: HashMap<u32, u32> = HashMap::new();
        for &(first, last, class) in self.spans.iter() {
            *sizes.entry(class).or_default() += last - first + 1;
        }
        let mut order: Vec<u32> = sizes.keys().copied().collect();
        // Class 0 means "in no set"; otherwise the largest class stays.
        order.sort_by_key(|class| (*class != 0, std::cmp::Reverse(sizes[class]), *class));
        let mut names: HashMap<Vec<u32>, u32> = HashMap::from([(Vec::new(), 0)]);
        let mut joined: HashMap<u32, u32> = HashMap::new();
        for class in order {
            let sets: Vec<u32> =
                live.iter().copied().filter(|&id| has(&self.bits[id as usize], class)).collect();
            joined.insert(class, *names.entry(sets).or_insert(class));
        }
        let mut spans = Vec::new();
        for &(first, last, class) in self.spans.iter() {
            push_span(&mut spans, (first, last, joined[&class]));
        }
        self.flip(spans, writer);
    }
}

/// A set of positions in the list of new sets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Members {
    /// The words of zeros before the others.
    zeros: usize,
    /// The bits of the positions, from the first word to the last that is not zero.
    words: Vec<u64>,
}

impl Members {
    /// Of a bitmap. Equal sets are equal values.
    fn of(bitmap: &[u64]) -> Self {
        let is_used = |word: &u64| *word != 0;
        let zeros = bitmap.iter().position(is_used).unwrap_or(bitmap.len());
        let end = bitmap.iter().rposition(is_used).map_or(zeros, |last| last + 1);
        match bitmap.get(zeros..end) {
            Some(words) if !words.is_empty() => Self { zeros, words: words.to_vec() },
            _ => Self::default(),
        }
    }

    fn positions(&self) -> impl Iterator<Item = usize> {
        (self.zeros..).zip(&self.words).flat_map(|(at, &word)| {
            // Each word without its lowest bit, until none is left.
            let rests = std::iter::successors(Some(word), |rest| Some(rest & rest.wrapping_sub(1)));
            let rests = rests.take_while(|rest| *rest != 0);
            rests.map(move |rest| at * 64 + rest.trailing_zeros() as usize)
        })
    }
}

/// Ports of one class that are in the same new sets.
struct Part {
    first: u32,
    last: u32,
    class: u32,
    /// A number for their members: equal ones have equal numbers.
    members: usize,
}

/// The number of no members.
const NO_MEMBERS: usize = 0;

/// Cuts the spans at the ends of the new sets' ranges. Also returns the parts' members by number.
fn split(spans: &[Span], new: &[Arc<PortSet>]) -> (Vec<Part>, Interner<Members>) {
    // A canonical set's ranges don't overlap: each end changes the membership once.
    let mut ends: Vec<(u32, usize)> = Vec::new();
    for (position, set) in new.iter().enumerate() {
        for (protocol, ranges) in &set.ranges {
            let base = (*protocol as u32) << 16;
            for range in ranges {
                ends.push((base + u32::from(range.first), position));
                ends.push((base + u32::from(range.last) + 1, position));
            }
        }
    }
    ends.sort_unstable();
    let mut ends = ends.into_iter().peekable();
    let mut members = vec![0; new.len().div_ceil(64)];
    let mut distinct = Interner::default();
    let mut number = distinct.intern(Members::default());
    let mut parts = Vec::new();
    for &(first, last, class) in spans {
        let mut from = first;
        while from <= last {
            let mut is_same = true;
            while let Some((_, position)) = ends.next_if(|&(port, _)| port <= from) {
                members[position / 64] ^= 1 << (position % 64);
                is_same = false;
            }
            if !is_same {
                number = distinct.intern(Members::of(&members));
            }
            let to = ends.peek().map_or(last, |&(port, _)| last.min(port - 1));
            parts.push(Part { first: from, last: to, class, members: number });
            from = to + 1;
        }
    }
    (parts, distinct)
}

/// The new sets of each class, by the spans that `parts` became.
fn membership(parts: &[Part], spans: &[Span]) -> Vec<(u32, usize)> {
    let mut at = 0;
    let mut members: NumberMap<u32, usize> = NumberMap::default();
    for part in parts {
        while spans[at].1 < part.first {
            at += 1;
        }
        members.insert(spans[at].2, part.members);
    }
    members.into_iter().collect()
}

fn has(bits: &[u64], class: u32) -> bool {
    bits.get(class as usize / 64).is_some_and(|word| word >> (class % 64) & 1 == 1)
}

fn put(bits: &mut Vec<u64>, class: u32, inside: bool) {
    let word = class as usize / 64;
    if word >= bits.len() {
        bits.resize(word + 1, 0);
    }
    let bit = 1 << (class % 64);
    if inside {
        bits[word] |= bit;
    } else {
        bits[word] &= !bit;
    }
}

fn push_span(spans: &mut Vec<Span>, span: Span) {
    match spans.last_mut() {
        Some(last) if last.2 == span.2 => last.1 = span.1,
        _ => spans.push(span),
    }
}

fn classes_of(spans: &[Span]) -> BTreeSet<u32> {
    spans.iter().map(|span| span.2).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a port of the table; within limits a class fits u16"
)]
fn port_step(port: u32, class: u32) -> Step {
    Step::PortClass { protocol: (port >> 16) as u8, port: port as u16, class: class as u16 }
}
