//! Shortcuts into the IPv6 trie by network, as the kernel has them ([`networks`]).
//!
//! A shortcut is never needed for the right result: the look-up compares what it leads to with the
//! address. So their words may be written in any order. They follow the trie: a change of the trie ends
//! with the words of the networks that it touched, before what was unlinked is freed.
//!
//! [`networks`]: enforcer_ebpf::contract::networks

use std::collections::BTreeSet;
use std::sync::Arc;

use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::networks::Places;
use enforcer_ebpf::contract::table::{Block, Leaf6, NETWORK_PLACES, Node6, ROOT6, SLOTS};

use super::step::Step;
use super::writer::Writer;

/// The networks that are moved to their other place to make room for one.
const MOVES: usize = 64;

/// The bytes of a network's number.
const NETWORK_BYTES: u32 = 8;

/// The word of a place without a shortcut.
const NONE: Entry = Entry(0);

/// What the kernel's table of shortcuts holds.
#[derive(Debug, Clone)]
pub(super) struct Shortcuts {
    places: Places,
    /// Shared with clones of this table, and among blocks without a shortcut.
    blocks: Vec<Arc<Block>>,
}

impl Shortcuts {
    /// A zeroed table.
    pub(super) fn new(places: Places) -> Self {
        let zero = Arc::new([0; SLOTS]);
        Self { places, blocks: vec![zero; NETWORK_PLACES / SLOTS] }
    }

    /// Makes the shortcuts of all networks that these words, made or unlinked, are about those of the trie.
    pub(super) fn update(
        &mut self,
        touched: impl Iterator<Item = Entry>,
        trie: Contents<'_>,
        writer: &mut Writer,
    ) {
        let networks: BTreeSet<u64> = touched.filter_map(|word| trie.network_of(word)).collect();
        for network in networks {
            let word = trie.reached(network).unwrap_or(NONE);
            let held = self.places_of(network).into_iter().find(|place| {
                let held = self.word(*place);
                trie.network_of(held) == Some(network)
            });
            match held {
                Some(place) if self.word(place) == word => {}
                Some(place) => self.store(place, word, writer),
                None if word == NONE => {}
                None => self.insert(network, word, trie, writer),
            }
        }
    }

    /// Puts a network's word into one of its places, and what was there into its other one.
    fn insert(&mut self, network: u64, word: Entry, trie: Contents<'_>, writer: &mut Writer) {
        let (mut network, mut word) = (network, word);
        let mut from = None;
        for _ in 0..MOVES {
            let [first, second] = self.places_of(network);
            if let Some(free) = [first, second].into_iter().find(|place| self.word(*place) == NONE)
            {
                return self.store(free, word, writer);
            }
            let place = if from == Some(first) { second } else { first };
            let displaced = self.word(place);
            self.store(place, word, writer);
            let Some(next) = trie.network_of(displaced) else { return };
            (network, word, from) = (next, displaced, Some(place));
        }
        // One network is looked up in the trie.
    }

    fn places_of(&self, network: u64) -> [u32; 2] {
        [self.places.first(network), self.places.second(network)]
    }

    fn word(&self, place: u32) -> Entry {
        let place = place as usize;
        self.blocks.get(place / SLOTS).map_or(NONE, |block| Entry(block[place % SLOTS]))
    }

    fn store(&mut self, place: u32, entry: Entry, writer: &mut Writer) {
        let at = place as usize;
        if let Some(block) = self.blocks.get_mut(at / SLOTS) {
            Arc::make_mut(block)[at % SLOTS] = entry.0;
            writer.push(Step::Network6 { place, entry });
        }
    }
}

/// The nodes and leaves of a trie. Those that are not in use keep their last contents.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contents<'a> {
    pub(super) nodes: &'a [Arc<Node6>],
    pub(super) leaves: &'a [Leaf6],
}

impl Contents<'_> {
    /// The network that contains all of a node's or leaf's prefix.
    fn network_of(&self, word: Entry) -> Option<u64> {
        let index = word.index() as usize;
        let (value, mask) = if word.is_link() {
            self.nodes.get(index).map(|node| (node.value, node.mask))?
        } else if word.is_leaf() {
            self.leaves.get(index).map(|leaf| (leaf.value, leaf.mask))?
        } else {
            return None;
        };
        (mask[0] == u64::MAX).then_some(value[0])
    }

    /// The word where the trie's path reaches a network. `None`: no part is for this network alone.
    fn reached(&self, network: u64) -> Option<Entry> {
        let mut word = Entry::link(ROOT6);
        while word.is_link() {
            let node = self.nodes.get(word.index() as usize)?;
            // A node's check covers all bytes before its own.
            if node.byte() >= NETWORK_BYTES || (node.value[0] ^ network) & node.mask[0] != 0 {
                break;
            }
            let byte = network.to_be_bytes()[node.byte() as usize];
            word = Entry(node.slots[usize::from(byte)]);
        }
        if self.network_of(word) != Some(network) {
            return None;
        }
        let index = word.index();
        match self.nodes.get(index as usize).filter(|_| word.is_link()) {
            Some(node) => Some(Entry::shortcut(index, node.shift)),
            None => Some(word),
        }
    }
}
