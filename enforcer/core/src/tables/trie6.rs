//! The IPv6 trie: nodes that skip common bytes and branch on one, leaves for single prefixes.
//!
//! As in the IPv4 trie, one store changes a word if all its addresses change alike. Changes within
//! a node's own prefix are made in its slots. Everything else is built as new nodes and leaves and
//! then linked with one store. Of a linked node or leaf, only a node's slots ever change; a change
//! around a node (`outside`) needs a copy of the node.
//!
//! Each network (/64) that has a part of the trie for itself has a shortcut to it ([`super::shortcuts6`]).
//!
//! Checks cover the whole prefix from byte 0 on, not only the skipped bytes. So a node or leaf has
//! the same meaning anywhere in the trie, and can move up if the branch above it is removed.

use std::sync::Arc;

use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::networks::Places;
use enforcer_ebpf::contract::table::{Leaf6, Node6, ROOT6, SLOTS};

use super::alloc::Pool;
use super::change::{Change, clip, covering, touched};
use super::pieces6::{
    Content, Form, Piece, Pieces, branch, form, halves, leaf, masked_range, overlay, prefix_mask,
    region_last,
};
use super::regions::Regions;
use super::shortage::{Full, Table};
use super::shortcuts6::{Contents, Shortcuts};
use super::step::Step;
use super::writer::Writer;

/// What the kernel's IPv6 trie holds.
#[derive(Debug, Clone)]
pub(super) struct Trie6 {
    /// By index; nodes that are not in use keep their last contents.
    nodes: Vec<Arc<Node6>>,
    leaves: Vec<Leaf6>,
    node_pool: Pool,
    leaf_pool: Pool,
    shortcuts: Shortcuts,
    /// Words unlinked by stores that are not in the plan yet.
    unlinked: Vec<Entry>,
    /// Words made for such stores.
    made: Vec<Entry>,
}

impl Trie6 {
    /// A zeroed trie of at most `nodes` nodes and `leaves` leaves.
    pub(super) fn new(nodes: u32, leaves: u32, places: Places) -> Self {
        Self {
            nodes: vec![Arc::new(Node6 { shift: 120, ..bytemuck::Zeroable::zeroed() })],
            leaves: Vec::new(),
            node_pool: Pool::new(Table::Trie6Nodes, 1, nodes.max(1)),
            leaf_pool: Pool::new(Table::Trie6Leaves, 0, leaves),
            shortcuts: Shortcuts::new(places),
            unlinked: Vec::new(),
            made: Vec::new(),
        }
    }

    /// The numbers of nodes and of leaves in use.
    pub(super) fn used(&self) -> (u32, u32) {
        (self.node_pool.used(), self.leaf_pool.used())
    }

    /// The numbers of nodes and of leaves that have ever been in use.
    pub(super) fn high_water(&self) -> (u32, u32) {
        (self.node_pool.high_water(), self.leaf_pool.high_water())
    }

    /// The entries by address.
    pub(super) fn regions(&self) -> Regions<u32> {
        let mut regions = Regions::uniform(Entry::UNKNOWN.0);
        for (slot, &word) in (0u128..).zip(&self.nodes[ROOT6 as usize].slots) {
            let first = slot << 120;
            self.walk(word, (first, region_last(first, 1)), &mut regions);
        }
        regions
    }

    fn walk(&self, word: u32, region: (u128, u128), regions: &mut Regions<u32>) {
        for piece in self.pieces(word, region) {
            let node = match piece.content {
                Content::Uniform(entry) => {
                    regions.push(piece.first, entry);
                    continue;
                }
                Content::Node(node) => &self.nodes[node as usize],
            };
            for (slot, &word) in (0u128..).zip(&node.slots) {
                let first = piece.first | slot << node.shift;
                self.walk(word, (first, region_last(first, node.byte() + 1)), regions);
            }
        }
    }

    /// Adds the steps for the changes.
    pub(super) fn apply(&mut self, changes: &[Change], writer: &mut Writer) -> Result<(), Full> {
        let whole = (0, u128::MAX);
        let now = Arc::clone(&self.nodes[ROOT6 as usize]);
        for (at, range) in touched(changes, whole, 120) {
            let slot = (at >> 120) as usize;
            let word = self.edit(now.slots[slot], at, 1, &changes[range], writer)?;
            if word != now.slots[slot] {
                self.store(ROOT6, slot, word, writer);
            }
            self.update_shortcuts(writer);
            for word in self.unlinked.drain(..) {
                let pool = if word.is_link() { &mut self.node_pool } else { &mut self.leaf_pool };
                pool.free(word.index(), writer);
            }
        }
        Ok(())
    }

    /// Writes the shortcuts of the networks that a change below the root has touched.
    fn update_shortcuts(&mut self, writer: &mut Writer) {
        let touched = self.made.drain(..).chain(self.unlinked.iter().copied());
        let trie = Contents { nodes: &self.nodes, leaves: &self.leaves };
        self.shortcuts.update(touched, trie, writer);
    }

    /// Changes some of the addresses of the region of `bytes` bytes at `first`, which has the word
    /// `word`. Returns the region's new word; everything below it is in place.
    fn edit(
        &mut self,
        word: u32,
        first: u128,
        bytes: u32,
        changes: &[Change],
        writer: &mut Writer,
    ) -> Result<u32, Full> {
        let region = (first, region_last(first, bytes));
        let changes = clip(changes, region.0, region.1);
        if let Some(entry) = covering(&changes, region.0, region.1) {
            self.unlink(word);
            return Ok(entry);
        }
        if !Entry(word).is_link() {
            let pieces = overlay(&self.pieces(word, region), &changes);
            self.unlink(word);
            return self.build(&pieces, bytes, writer);
        }
        let own = self.prefix(Entry(word).index());
        let inside = clip(&changes, own.0, own.1);
        let outside: Vec<Change> = around(&changes, own);
        let mut now = self.pieces(word, region);
        if covering(&inside, own.0, own.1).is_some() {
            self.unlink(word);
            now = overlay_node(now, &inside);
        } else if !inside.is_empty() {
            let edited = self.edit_node(word, region, &inside, writer)?;
            if outside.is_empty() {
                return Ok(edited);
            }
            now = self.pieces(edited, region);
            if edited != word && Entry(edited).is_leaf() {
                self.unlink(edited);
            }
        }
        self.build(&overlay(&now, &outside), bytes, writer)
    }

    /// Changes addresses within a node's prefix in the node's slots. Returns the word of the node's
    /// region, which is another one if the node is no longer needed.
    fn edit_node(
        &mut self,
        word: u32,
        region: (u128, u128),
        changes: &[Change],
        writer: &mut Writer,
    ) -> Result<u32, Full> {
        let index = Entry(word).index();
        let now = Arc::clone(&self.nodes[index as usize]);
        let own = self.prefix(index);
        let shift = now.shift;
        let mut next = now.slots;
        for (at, range) in touched(changes, own, shift) {
            let slot = (at >> shift) as usize % SLOTS;
            next[slot] = self.edit(next[slot], at, now.byte() + 1, &changes[range], writer)?;
        }
        if let Some(simpler) = self.simplify(&now, &next, own, region, writer) {
            self.unlinked.push(Entry(word));
            return Ok(simpler);
        }
        for slot in (0..SLOTS).filter(|&slot| next[slot] != now.slots[slot]) {
            self.store(index, slot, next[slot], writer);
        }
        Ok(word)
    }

    /// The word that can replace a node with these slots: there is one if all slots but one are
    /// equal to the entry around the node.
    fn simplify(
        &mut self,
        node: &Node6,
        slots: &[u32; SLOTS],
        own: (u128, u128),
        region: (u128, u128),
        writer: &mut Writer,
    ) -> Option<u32> {
        // If nothing is around it: the entry of most slots.
        let most = if slots[0] == slots[1] { slots[0] } else { slots[2] };
        let around = if own == region { most } else { node.outside };
        if Entry(around).is_link() || Entry(around).is_leaf() {
            return None;
        }
        let mut odd = (0..SLOTS).filter(|&slot| slots[slot] != around);
        let (slot, more) = (odd.next(), odd.next());
        let Some(slot) = slot else { return Some(around) };
        if more.is_some() {
            return None;
        }
        let first = own.0 | ((slot as u128) << node.shift);
        let inner = (first, region_last(first, node.byte() + 1));
        let mut pieces = Pieces::default();
        let outside = Content::Uniform(around);
        if inner.0 > region.0 {
            pieces.push(region.0, inner.0 - 1, outside);
        }
        for piece in self.pieces(slots[slot], inner) {
            pieces.push(piece.first, piece.last, piece.content);
        }
        if inner.1 < region.1 {
            pieces.push(inner.1 + 1, region.1, outside);
        }
        // Without room for the replacement, the node stays.
        let form = form(&pieces.0)?;
        let simpler = self.realize(form, writer).ok()?;
        if Entry(slots[slot]).is_leaf() {
            self.unlinked.push(Entry(slots[slot]));
        }
        Some(simpler)
    }

    /// Builds the word of the region of `bytes` bytes that the pieces fill.
    fn build(&mut self, pieces: &[Piece], bytes: u32, writer: &mut Writer) -> Result<u32, Full> {
        if let Some(form) = form(pieces) {
            return self.realize(form, writer);
        }
        let (first, byte, outside) = branch(pieces, bytes);
        let mut slots = [outside; SLOTS];
        let mut from = 0;
        for (slot, word) in slots.iter_mut().enumerate() {
            let low = first | ((slot as u128) << (120 - byte * 8));
            let high = region_last(low, byte + 1);
            while pieces[from].last < low {
                from += 1;
            }
            let mut part = Pieces::default();
            for piece in pieces[from..].iter().take_while(|piece| piece.first <= high) {
                part.push(piece.first.max(low), piece.last.min(high), piece.content);
            }
            *word = self.build(&part.0, byte + 1, writer)?;
        }
        let (mask, shift) = (prefix_mask(byte), 120 - byte * 8);
        let node = Node6 { value: halves(first), mask: halves(mask), outside, shift, slots };
        self.fresh_node(node, writer)
    }

    /// The word for a form.
    fn realize(&mut self, form: Form, writer: &mut Writer) -> Result<u32, Full> {
        match form {
            Form::Uniform(entry) => Ok(entry),
            Form::Leaf { first, last, inside, outside } => {
                let value = leaf(first, last, inside, outside);
                let index = self.leaf_pool.take(writer)?;
                let at = index as usize;
                if at >= self.leaves.len() {
                    self.leaves.resize_with(at + 1, bytemuck::Zeroable::zeroed);
                }
                self.leaves[at] = value;
                self.made.push(Entry::leaf(index));
                writer.push(Step::Leaf6 { leaf: index, value });
                Ok(Entry::leaf(index).0)
            }
            Form::Node { node, outside } => {
                let value = *self.nodes[node as usize];
                match outside {
                    Some(outside) if outside != value.outside => {
                        let copy = self.fresh_node(Node6 { outside, ..value }, writer)?;
                        self.unlinked.push(Entry::link(node));
                        Ok(copy)
                    }
                    _ => Ok(Entry::link(node).0),
                }
            }
        }
    }

    fn fresh_node(&mut self, value: Node6, writer: &mut Writer) -> Result<u32, Full> {
        let node = self.node_pool.take(writer)?;
        let at = node as usize;
        if at >= self.nodes.len() {
            self.nodes.resize_with(at + 1, || Arc::new(value));
        }
        self.nodes[at] = Arc::new(value);
        self.made.push(Entry::link(node));
        writer.push(Step::Node6 { node, value: Box::new(value) });
        Ok(Entry::link(node).0)
    }

    /// The pieces of the region with this word.
    fn pieces(&self, word: u32, region: (u128, u128)) -> Vec<Piece> {
        let mut pieces = Pieces::default();
        let entry = Entry(word);
        if entry.is_link() {
            let node = entry.index();
            let outside = Content::Uniform(self.nodes[node as usize].outside);
            pieces.push_around(region, self.prefix(node), Content::Node(node), outside);
        } else if entry.is_leaf() {
            let leaf = &self.leaves[entry.index() as usize];
            let inner = masked_range(leaf.value, leaf.mask);
            let (inside, outside) = (Content::Uniform(leaf.inside), Content::Uniform(leaf.outside));
            pieces.push_around(region, inner, inside, outside);
        } else {
            pieces.push(region.0, region.1, Content::Uniform(word));
        }
        pieces.0
    }

    /// The range of addresses that pass a node's check.
    fn prefix(&self, node: u32) -> (u128, u128) {
        let node = &self.nodes[node as usize];
        masked_range(node.value, node.mask)
    }

    fn store(&mut self, node: u32, slot: usize, word: u32, writer: &mut Writer) {
        Arc::make_mut(&mut self.nodes[node as usize]).slots[slot] = word;
        #[expect(clippy::cast_possible_truncation, reason = "a slot is below 256")]
        writer.push(Step::Trie6 { node, slot: slot as u8, entry: Entry(word) });
    }

    /// Notes that a word, and everything to which it leads, is about to be replaced.
    fn unlink(&mut self, word: u32) {
        let entry = Entry(word);
        if entry.is_leaf() {
            self.unlinked.push(entry);
        } else if entry.is_link() {
            self.unlinked.push(entry);
            let node = Arc::clone(&self.nodes[entry.index() as usize]);
            for &word in &node.slots {
                self.unlink(word);
            }
        }
    }
}

/// The changes' parts outside of `inner`.
fn around(changes: &[Change], inner: (u128, u128)) -> Vec<Change> {
    let mut parts = Vec::new();
    if let Some(last) = inner.0.checked_sub(1) {
        parts.extend(clip(changes, 0, last));
    }
    if let Some(first) = inner.1.checked_add(1) {
        parts.extend(clip(changes, first, u128::MAX));
    }
    parts
}

/// The pieces, with a node's piece replaced by the one change that covers it.
fn overlay_node(pieces: Vec<Piece>, changes: &[Change]) -> Vec<Piece> {
    let mut result = Pieces::default();
    for piece in pieces {
        let content = match (piece.content, changes) {
            (Content::Node(_), [change]) => Content::Uniform(change.entry),
            (content, _) => content,
        };
        result.push(piece.first, piece.last, content);
    }
    result.0
}
