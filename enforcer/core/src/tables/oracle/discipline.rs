//! The rule for writes: a step may write only what no packet can be reading.
//!
//! A packet reads its endpoint, then its address, then a cell, then a port's class and the bits of
//! a set. It may be delayed between reads: it can be reading anything that was reachable at some
//! moment since the last grace period.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use enforcer_ebpf::contract::endpoint::{MAX_ID, Slot};
use enforcer_ebpf::contract::entry::{Cell, Entry};
use enforcer_ebpf::contract::lookup::{Tables, cell};
use enforcer_ebpf::contract::table::{Block, Limits, ROOT6, ROOTS4, SLOTS};
use enforcer_ebpf::contract::verdict::Direction;

use super::image::{Image, ImageError};
use crate::tables::answer::Judgement;
use crate::tables::sizes;
use crate::tables::step::Step;

/// An [`Image`] that rejects steps that write what a packet may be reading: blocks, nodes, leaves,
/// records, cells and bits that are reachable or were so since the last [`Step::Grace`].
#[derive(Debug, Clone)]
pub struct CheckedImage {
    image: Image,
    discipline: Discipline,
}

impl CheckedImage {
    /// Zeroed tables.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { image: Image::new(limits), discipline: Discipline::default() }
    }

    /// The same tables, with other secrets of the IPv6 networks' places.
    #[must_use]
    pub fn with_secrets(self, secrets: [u64; 2]) -> Self {
        Self { image: self.image.with_secrets(secrets), ..self }
    }

    /// Takes a step.
    ///
    /// # Errors
    /// The step writes what a packet may be reading, or past the end of its table.
    pub fn apply(&mut self, step: &Step) -> Result<(), ImageError> {
        if self.discipline.forbids(&self.image, step) {
            return Err(ImageError::InUse(format!("{step:?}")));
        }
        self.image.apply(step)
    }
}

impl Deref for CheckedImage {
    type Target = Image;

    fn deref(&self) -> &Image {
        &self.image
    }
}

/// What has been reachable since the last grace period, and the current contents of the tables that
/// are too large to read at each step.
#[derive(Debug, Clone)]
struct Discipline {
    /// The number of occurrences of each word in the IPv4 trie's root.
    roots: BTreeMap<u32, u32>,
    /// The number of occurrences of each word among the IPv6 networks' shortcuts.
    networks: BTreeMap<u32, u32>,
    /// The number of occurrences of each slot among interfaces and senders.
    slots: BTreeMap<u64, u32>,
    /// The number of ports of each port class.
    port_classes: BTreeMap<u16, u32>,
    /// Whether what is reachable may have changed since it was noted.
    changed: bool,
    /// The number of times that the reachable items were noted.
    note: u64,
    noted: Noted,
}

/// Everything that has been reachable.
#[derive(Debug, Clone, Default)]
struct Noted {
    blocks: BTreeSet<u32>,
    nodes: BTreeSet<u32>,
    leaves: BTreeSet<u32>,
    records: BTreeSet<u32>,
    ids: BTreeSet<u32>,
    sets: BTreeSet<u32>,
    ports: BTreeSet<u16>,
    /// By first cell: the first and the last note in which an endpoint had the row.
    rows: BTreeMap<u32, (u64, u64)>,
    /// By class: the last note in which an address had it.
    classes: BTreeMap<u32, u64>,
}

impl Default for Discipline {
    fn default() -> Self {
        Self {
            roots: BTreeMap::from([(0, ROOTS4 * 256)]),
            networks: BTreeMap::from([(0, sizes::NETWORK_PLACES)]),
            slots: BTreeMap::from([(0, sizes::INTERFACE_SLOTS + MAX_ID + 1)]),
            port_classes: BTreeMap::from([(0, sizes::PORTS)]),
            changed: true,
            note: 0,
            noted: Noted::default(),
        }
    }
}

impl Discipline {
    /// Whether the step, which the image is about to take, writes what a packet may be reading.
    fn forbids(&mut self, image: &Image, step: &Step) -> bool {
        if self.changed {
            self.note_reachable(image);
            self.changed = false;
        }
        match step {
            Step::Block4 { block, .. } => *block < ROOTS4 || self.noted.blocks.contains(block),
            Step::Node6 { node, .. } => *node == ROOT6 || self.noted.nodes.contains(node),
            Step::Leaf6 { leaf, .. } => self.noted.leaves.contains(leaf),
            Step::Endpoint { record, .. } => self.noted.records.contains(record),
            Step::ForgetEndpoint { id } => self.noted.ids.contains(id),
            Step::Verdict { index, .. } => self.reads_cell(*index),
            Step::Verdicts { index, cells } => {
                (*index..).zip(cells).any(|(index, _)| self.reads_cell(index))
            }
            Step::PortSetWord { set, word, bits } => self.reads_bits(image, *set, *word, *bits),
            Step::Trie4 { block, slot, entry } => {
                let old = image.trie4(*block).map_or(0, |block| block[usize::from(*slot)]);
                self.changed |= *block >= ROOTS4 || recount(&mut self.roots, old, entry.0);
                false
            }
            Step::Network6 { place, entry } => {
                let words = image.networks6();
                let old =
                    words.and_then(|words| words.get(*place as usize)).map_or(0, |word| *word);
                self.changed |= recount(&mut self.networks, old, entry.0);
                false
            }
            Step::PortClass { protocol, port, class } => {
                let index = (usize::from(*protocol) << 16) | usize::from(*port);
                let old = image.ports().map_or(0, |ports| ports[index]);
                self.changed |= recount(&mut self.port_classes, old, *class);
                false
            }
            Step::Interface { slot, value } => {
                let slots = image.interfaces();
                let old = slots.and_then(|slots| slots.get(*slot as usize)).map_or(0, |slot| *slot);
                self.changed |= recount(&mut self.slots, old, value.0);
                false
            }
            Step::Sender { id, value } => {
                let old = image.sender(*id).map_or(0, |slot| slot.0);
                self.changed |= recount(&mut self.slots, old, value.0);
                false
            }
            Step::Trie6 { .. } => {
                self.changed = true;
                false
            }
            Step::Grace => {
                self.forget();
                false
            }
            Step::AddExtraAddress(_)
            | Step::RemoveExtraAddress(_)
            | Step::PodAddress { .. }
            | Step::Owner { .. } => false,
        }
    }

    /// Whether a packet can be reading the cell: an endpoint has had the row, and an address has
    /// had the class at the same time or later.
    fn reads_cell(&self, index: u32) -> bool {
        self.noted.rows.range(..=index).any(|(base, (since, _))| {
            self.noted.classes.get(&(index - base)).is_some_and(|last| last >= since)
        })
    }

    fn reads_bits(&self, image: &Image, set: u32, word: u32, bits: u64) -> bool {
        let old = image.port_set(set).map_or(0, |words| words[word as usize]);
        let class = |bit: u32| u16::try_from(word * 64 + bit).unwrap_or(u16::MAX);
        let differs = |bit: u32| (old ^ bits) >> bit & 1 == 1;
        self.noted.sets.contains(&set)
            && (0..64).any(|bit| differs(bit) && self.noted.ports.contains(&class(bit)))
    }

    /// After a grace period, packets read only what is reachable now.
    fn forget(&mut self) {
        let mut rows = std::mem::take(&mut self.noted).rows;
        // Of a row that is still reachable, it matters since when.
        rows.retain(|_, (_, last)| *last == self.note);
        self.noted.rows = rows;
        self.changed = true;
    }

    /// Notes everything that a packet could read now.
    fn note_reachable(&mut self, image: &Image) {
        self.note += 1;
        self.noted.ports.extend(self.port_classes.keys());
        let words: Vec<u32> = self.roots.keys().copied().collect();
        let mut classes = BTreeSet::new();
        for word in words {
            self.walk4(image, word, &mut classes);
        }
        self.walk6(image, Entry::link(ROOT6).0, 0, &mut classes);
        let shortcuts: Vec<u32> = self.networks.keys().copied().filter(|word| *word != 0).collect();
        for word in shortcuts {
            self.walk6(image, word, 8, &mut classes);
        }
        let rows = self.note_endpoints(image);
        for &row in &rows {
            for &class in &classes {
                let set = cell(image, row, class).unwrap_or(Cell::DENY).0;
                if set >= Cell::FIRST_SET {
                    self.noted.sets.insert(set);
                }
            }
        }
        for class in classes {
            self.noted.classes.insert(class, self.note);
        }
        for row in rows {
            self.noted.rows.entry(row).or_insert((self.note, 0)).1 = self.note;
        }
    }

    /// Notes the records and ids of endpoints. Returns the first cells of their rows.
    fn note_endpoints(&mut self, image: &Image) -> BTreeSet<u32> {
        let mut rows = BTreeSet::new();
        for &slot in self.slots.keys().filter(|&&slot| slot != 0) {
            let record = Slot(slot).record();
            self.noted.records.insert(record);
            let Some(endpoint) = image.endpoint(record) else { continue };
            self.noted.ids.insert(endpoint.id);
            rows.extend(Direction::ALL.into_iter().filter_map(|direction| {
                match Judgement::of(endpoint, direction) {
                    Judgement::Row(row) => Some(row),
                    Judgement::Open | Judgement::Closed => None,
                }
            }));
        }
        rows
    }

    fn walk4(&mut self, image: &Image, word: u32, classes: &mut BTreeSet<u32>) {
        let entry = Entry(word);
        if !entry.is_link() {
            classes.insert(entry.index());
            return;
        }
        self.noted.blocks.insert(entry.index());
        for word in image.trie4(entry.index()).map(runs).into_iter().flatten() {
            self.walk4(image, word, classes);
        }
    }

    /// Notes everything below a word of addresses with `bytes` common leading bytes.
    fn walk6(&mut self, image: &Image, word: u32, bytes: u32, classes: &mut BTreeSet<u32>) {
        let entry = Entry(word);
        if entry.is_leaf() {
            self.noted.leaves.insert(entry.index());
            if let Some(leaf) = image.leaf6(entry.index()) {
                classes.insert(Entry(leaf.inside).index());
                classes.insert(Entry(leaf.outside).index());
            }
        } else if entry.is_link() {
            self.noted.nodes.insert(entry.index());
            if let Some(node) = image.node6(entry.index()) {
                if node.byte() > bytes {
                    classes.insert(Entry(node.outside).index());
                }
                for word in runs(&node.slots) {
                    self.walk6(image, word, node.byte() + 1, classes);
                }
            }
        } else {
            classes.insert(entry.index());
        }
    }
}

/// The words, each run of equal ones as one. Tests spend most of their time here, hence the loop.
fn runs(words: &Block) -> Vec<u32> {
    let mut runs = vec![words[0]];
    let mut at = 1;
    while at < SLOTS {
        if words[at] != words[at - 1] {
            runs.push(words[at]);
        }
        at += 1;
    }
    runs
}

/// Counts one `old` less and one `new` more. Returns whether a value appeared or disappeared.
fn recount<K: Ord + Copy>(counts: &mut BTreeMap<K, u32>, old: K, new: K) -> bool {
    let mut changed = false;
    if let Some(count) = counts.get_mut(&old) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&old);
            changed = true;
        }
    }
    let count = counts.entry(new).or_default();
    *count += 1;
    changed || *count == 1
}
