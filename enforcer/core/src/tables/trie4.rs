//! The IPv4 trie: 16-8-8 bits in blocks of 256 words.
//!
//! If all addresses of a word change alike, one store changes them. If a part of them changes, a
//! fresh block is filled first and then linked with one store. A block with equal words is replaced
//! by one word. So each store takes each address from its old entry to its new one.

use std::sync::Arc;

use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::table::{Block, ROOTS4, SLOTS};

use super::alloc::Pool;
use super::change::{Change, covering, touched};
use super::regions::Regions;
use super::shortage::{Full, Table};
use super::step::Step;
use super::writer::Writer;

/// The shift of a left-aligned address that gives the root's index.
const ROOT_SHIFT: u32 = 112;

/// What the kernel's IPv4 trie holds.
#[derive(Debug, Clone)]
pub(super) struct Trie4 {
    /// By index; blocks that are not in use keep their last contents.
    blocks: Vec<Arc<Block>>,
    pool: Pool,
    /// Blocks unlinked by stores that are not in the plan yet.
    unlinked: Vec<u32>,
}

impl Trie4 {
    /// A zeroed trie of at most `limit` blocks.
    pub(super) fn new(limit: u32) -> Self {
        let zero = Arc::new([0; SLOTS]);
        Self {
            blocks: vec![zero; ROOTS4 as usize],
            pool: Pool::new(Table::Trie4Blocks, ROOTS4, limit.max(ROOTS4)),
            unlinked: Vec::new(),
        }
    }

    /// The number of blocks in use.
    pub(super) fn used(&self) -> u32 {
        self.pool.used()
    }

    /// The number of blocks that have ever been in use.
    pub(super) fn high_water(&self) -> u32 {
        self.pool.high_water()
    }

    /// The entries by address.
    pub(super) fn regions(&self) -> Regions<u32> {
        let mut regions = Regions::uniform(Entry::UNKNOWN.0);
        for root in 0..1u128 << 16 {
            let (block, slot) = ((root >> 8) as usize, root as usize % SLOTS);
            self.walk(self.blocks[block][slot], root << ROOT_SHIFT, ROOT_SHIFT, &mut regions);
        }
        regions
    }

    fn walk(&self, word: u32, first: u128, shift: u32, regions: &mut Regions<u32>) {
        if !Entry(word).is_link() {
            regions.push(first, word);
            return;
        }
        let words = &self.blocks[Entry(word).index() as usize];
        for (slot, &word) in (0u128..).zip(words.iter()) {
            self.walk(word, first | slot << (shift - 8), shift - 8, regions);
        }
    }

    /// Adds the steps for the changes.
    pub(super) fn apply(&mut self, changes: &[Change], writer: &mut Writer) -> Result<(), Full> {
        for (first, range) in touched(changes, (0, u128::MAX), ROOT_SHIFT) {
            let index = (first >> ROOT_SHIFT) as usize;
            let (block, slot) = (index / SLOTS, index % SLOTS);
            let word = self.blocks[block][slot];
            let next = self.edit(word, first, ROOT_SHIFT, &changes[range], writer)?;
            if next != word {
                self.store(block, slot, next, writer);
            }
            for block in self.unlinked.drain(..) {
                self.pool.free(block, writer);
            }
        }
        Ok(())
    }

    /// Changes some of the `2^shift` addresses from `first` on, which have the word `word`. Returns
    /// their new word; everything below it is in place.
    fn edit(
        &mut self,
        word: u32,
        first: u128,
        shift: u32,
        changes: &[Change],
        writer: &mut Writer,
    ) -> Result<u32, Full> {
        let last = first | ((1 << shift) - 1);
        if let Some(entry) = covering(changes, first, last) {
            self.unlink(word);
            return Ok(entry);
        }
        let link = Entry(word).is_link();
        let index = Entry(word).index() as usize;
        let now = if link { Arc::clone(&self.blocks[index]) } else { Arc::new([word; SLOTS]) };
        let mut next = *now;
        let below = shift - 8;
        for (at, range) in touched(changes, (first, last), below) {
            let slot = (at >> below) as usize % SLOTS;
            next[slot] = self.edit(now[slot], at, below, &changes[range], writer)?;
        }
        if !Entry(next[0]).is_link() && next.iter().all(|&word| word == next[0]) {
            if link {
                self.unlinked.push(Entry(word).index());
            }
            return Ok(next[0]);
        }
        if !link {
            return self.fresh(next, writer);
        }
        for slot in (0..SLOTS).filter(|&slot| next[slot] != now[slot]) {
            self.store(index, slot, next[slot], writer);
        }
        Ok(word)
    }

    /// A new block with these words. Returns the link to it.
    fn fresh(&mut self, words: Block, writer: &mut Writer) -> Result<u32, Full> {
        let block = self.pool.take(writer)?;
        let index = block as usize;
        if index >= self.blocks.len() {
            self.blocks.resize_with(index + 1, || Arc::new([0; SLOTS]));
        }
        self.blocks[index] = Arc::new(words);
        writer.push(Step::Block4 { block, entries: Box::new(words.map(Entry)) });
        Ok(Entry::link(block).0)
    }

    fn store(&mut self, block: usize, slot: usize, word: u32, writer: &mut Writer) {
        Arc::make_mut(&mut self.blocks[block])[slot] = word;
        #[expect(clippy::cast_possible_truncation, reason = "both are indices within the table")]
        writer.push(Step::Trie4 { block: block as u32, slot: slot as u8, entry: Entry(word) });
    }

    /// Notes that a word, and everything to which it leads, is about to be replaced.
    fn unlink(&mut self, word: u32) {
        if Entry(word).is_link() {
            let block = Entry(word).index();
            self.unlinked.push(block);
            let words = Arc::clone(&self.blocks[block as usize]);
            for &word in words.iter() {
                self.unlink(word);
            }
        }
    }
}
