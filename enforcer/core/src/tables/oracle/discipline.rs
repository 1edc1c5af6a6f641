//! What may be written when: only what no packet can be reading.
//!
//! A packet reads its endpoint, then its address, then a cell, then a port's class and the bits of
//! a set, and it may take its time: it can be reading whatever was reachable at some moment since
//! the last grace period.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_ebpf::contract::endpoint::{Slot, flags};
use enforcer_ebpf::contract::entry::{Cell, Entry};
use enforcer_ebpf::contract::lookup::{Tables, cell};
use enforcer_ebpf::contract::table::{ROOT6, ROOTS4};

use super::Image;
use crate::tables::{Step, sizes};

/// What has been reachable since the last grace period, and the present state of the two roots
/// that are too large to be read at each step.
#[derive(Debug, Clone)]
pub(super) struct Discipline {
    /// How often each word occurs in the IPv4 trie's root.
    roots: BTreeMap<u32, u32>,
    /// How many ports each port class has.
    port_classes: BTreeMap<u16, u32>,
    /// Whether what is reachable may have changed since it was noted.
    changed: bool,
    /// The number of the note.
    note: u64,
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
            port_classes: BTreeMap::from([(0, sizes::PORTS)]),
            changed: true,
            note: 0,
            blocks: BTreeSet::new(),
            nodes: BTreeSet::new(),
            leaves: BTreeSet::new(),
            records: BTreeSet::new(),
            ids: BTreeSet::new(),
            sets: BTreeSet::new(),
            ports: BTreeSet::new(),
            rows: BTreeMap::new(),
            classes: BTreeMap::new(),
        }
    }
}

impl Discipline {
    /// Whether the step may be taken now, by an image that is about to take it.
    pub(super) fn check(&mut self, image: &Image, step: &Step) -> Result<(), String> {
        if self.changed {
            self.note_reachable(image);
            self.changed = false;
        }
        let problem = match step {
            Step::Block4 { block, .. } => *block < ROOTS4 || self.blocks.contains(block),
            Step::Node6 { node, .. } => *node == ROOT6 || self.nodes.contains(node),
            Step::Leaf6 { leaf, .. } => self.leaves.contains(leaf),
            Step::Endpoint { record, .. } => self.records.contains(record),
            Step::ForgetEndpoint { id } => self.ids.contains(id),
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
            Step::PortClass { protocol, port, class } => {
                let index = (usize::from(*protocol) << 16) | usize::from(*port);
                let old = image.ports().map_or(0, |ports| ports[index]);
                self.changed |= recount(&mut self.port_classes, old, *class);
                false
            }
            Step::Trie6 { .. } | Step::Interface { .. } | Step::Sender { .. } => {
                self.changed = true;
                false
            }
            Step::Grace => {
                self.forget();
                false
            }
            Step::AddExtraAddress(_) | Step::RemoveExtraAddress(_) | Step::Owner { .. } => false,
        };
        if problem { Err(format!("{step:?}")) } else { Ok(()) }
    }

    /// Whether a packet can be reading the cell: an endpoint has had the row, and an address has
    /// had the class at the same time or later.
    fn reads_cell(&self, index: u32) -> bool {
        self.rows.range(..=index).any(|(base, (since, _))| {
            self.classes.get(&(index - base)).is_some_and(|last| last >= since)
        })
    }

    fn reads_bits(&self, image: &Image, set: u32, word: u32, bits: u64) -> bool {
        let old = image.port_set(set).map_or(0, |words| words[word as usize]);
        let class = |bit: u32| u16::try_from(word * 64 + bit).unwrap_or(u16::MAX);
        let differs = |bit: u32| (old ^ bits) >> bit & 1 == 1;
        self.sets.contains(&set)
            && (0..64).any(|bit| differs(bit) && self.ports.contains(&class(bit)))
    }

    /// After a grace period, packets read only what is reachable now.
    fn forget(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        let Self { roots, port_classes, note, .. } = std::mem::take(self);
        *self = Self { roots, port_classes, note, ..Self::default() };
        // A row that is reachable still is so since then.
        self.rows = rows.into_iter().filter(|(_, (_, last))| *last == note).collect();
    }

    fn note_reachable(&mut self, image: &Image) {
        self.note += 1;
        self.ports.extend(self.port_classes.keys());
        let words: Vec<u32> = self.roots.keys().copied().collect();
        let mut classes = BTreeSet::new();
        for word in words {
            self.walk4(image, word, &mut classes);
        }
        self.walk6(image, Entry::link(ROOT6).0, 0, &mut classes);
        let rows = self.note_endpoints(image);
        for &row in &rows {
            for &class in &classes {
                let set = cell(image, row, class).unwrap_or(Cell::DENY).0;
                if set >= Cell::FIRST_SET {
                    self.sets.insert(set);
                }
            }
        }
        for class in classes {
            self.classes.insert(class, self.note);
        }
        for row in rows {
            self.rows.entry(row).or_insert((self.note, 0)).1 = self.note;
        }
    }

    /// Notes records and ids; gives the first cells of the rows.
    fn note_endpoints(&mut self, image: &Image) -> BTreeSet<u32> {
        let mut rows = BTreeSet::new();
        let interfaces = image.interfaces().into_iter().flatten();
        for &slot in interfaces.chain(image.senders()).filter(|&&slot| slot != 0) {
            let record = Slot(slot).record();
            self.records.insert(record);
            let Some(endpoint) = image.endpoint(record) else { continue };
            self.ids.insert(endpoint.id);
            let judged = |isolated, closed| endpoint.flags & (isolated | closed) == isolated;
            if judged(flags::INGRESS_ISOLATED, flags::INGRESS_CLOSED) {
                rows.insert(endpoint.ingress_row);
            }
            if judged(flags::EGRESS_ISOLATED, flags::EGRESS_CLOSED) {
                rows.insert(endpoint.egress_row);
            }
        }
        rows
    }

    fn walk4(&mut self, image: &Image, word: u32, classes: &mut BTreeSet<u32>) {
        let entry = Entry(word);
        if !entry.is_link() {
            classes.insert(entry.index());
            return;
        }
        self.blocks.insert(entry.index());
        for &word in image.trie4(entry.index()).into_iter().flatten() {
            self.walk4(image, word, classes);
        }
    }

    /// Notes what is below a word whose addresses have their first `bytes` bytes in common.
    fn walk6(&mut self, image: &Image, word: u32, bytes: u32, classes: &mut BTreeSet<u32>) {
        let entry = Entry(word);
        if entry.is_leaf() {
            self.leaves.insert(entry.index());
            if let Some(leaf) = image.leaf6(entry.index()) {
                classes.insert(Entry(leaf.inside).index());
                classes.insert(Entry(leaf.outside).index());
            }
        } else if entry.is_link() {
            self.nodes.insert(entry.index());
            if let Some(node) = image.node6(entry.index()) {
                if node.byte > bytes {
                    classes.insert(Entry(node.outside).index());
                }
                for &word in &node.slots {
                    self.walk6(image, word, node.byte + 1, classes);
                }
            }
        } else {
            classes.insert(entry.index());
        }
    }
}

/// One `old` less, one `new` more; whether one of them is the first or was the last of its kind.
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
