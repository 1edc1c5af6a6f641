//! Allocation of indices and runs of cells, with grace periods before reuse.
//!
//! A packet may still be reading what has just been unlinked. So every freed index has the *epoch*
//! (the number of [`Step::Grace`](super::Step::Grace)s so far) in which it was freed, and is reused
//! only in a later one. A plan waits for a grace period only if nothing else is free, so ordinary
//! changes never wait.

use std::collections::VecDeque;

use super::shortage::{Full, Table};
use super::writer::Writer;

/// The indices of one table.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    table: Table,
    first: u32,
    fresh: u32,
    limit: u32,
    /// The freed indices, oldest first, each with its epoch.
    freed: VecDeque<(u64, u32)>,
}

impl Pool {
    /// A pool of the indices `first..limit`.
    pub(super) fn new(table: Table, first: u32, limit: u32) -> Self {
        Self { table, first, fresh: first, limit, freed: VecDeque::new() }
    }

    /// The same pool, in which the indices of `first..fresh` are in use if `used` returns true, and
    /// free otherwise.
    pub(super) fn resumed(self, fresh: u32, used: impl Fn(u32) -> bool) -> Self {
        let freed = (self.first..fresh).filter(|index| !used(*index)).map(|index| (0, index));
        Self { fresh: fresh.max(self.first), freed: freed.collect(), ..self }
    }

    /// The number of indices in use.
    pub(super) fn live(&self) -> usize {
        (self.fresh - self.first) as usize - self.freed.len()
    }

    /// The number of indices in use, and of those before the first, which always are.
    pub(super) fn used(&self) -> u32 {
        self.first + u32::try_from(self.live()).unwrap_or(u32::MAX)
    }

    /// One past the largest index that was ever in use.
    pub(super) fn high_water(&self) -> u32 {
        self.fresh
    }

    /// Allocates an index that no packet can be using.
    pub(super) fn take(&mut self, writer: &mut Writer) -> Result<u32, Full> {
        self.take_below(self.limit, writer)
    }

    /// The same, but prefers a grace period to an index of `soft` or more.
    pub(super) fn take_below(&mut self, soft: u32, writer: &mut Writer) -> Result<u32, Full> {
        if let Some(index) = self.reuse(|epoch, index| epoch < writer.epoch && index < soft) {
            return Ok(index);
        }
        if self.fresh < soft.min(self.limit) {
            return Ok(self.next_fresh());
        }
        if let Some(index) = self.reuse(|_, index| index < soft) {
            writer.grace();
            return Ok(index);
        }
        if self.fresh < self.limit {
            return Ok(self.next_fresh());
        }
        self.take_oldest(writer)
    }

    /// Allocates the index that has been unused for longest.
    pub(super) fn take_longest_unused(&mut self, writer: &mut Writer) -> Result<u32, Full> {
        if self.fresh < self.limit {
            return Ok(self.next_fresh());
        }
        self.take_oldest(writer)
    }

    /// Frees an index to which no table leads any more.
    pub(super) fn free(&mut self, index: u32, writer: &Writer) {
        self.freed.push_back((writer.epoch, index));
    }

    fn next_fresh(&mut self) -> u32 {
        self.fresh += 1;
        self.fresh - 1
    }

    fn take_oldest(&mut self, writer: &mut Writer) -> Result<u32, Full> {
        let (epoch, index) = self.freed.pop_front().ok_or(Full { table: self.table })?;
        if epoch >= writer.epoch {
            writer.grace();
        }
        Ok(index)
    }

    fn reuse(&mut self, fits: impl Fn(u64, u32) -> bool) -> Option<u32> {
        let position = self.freed.iter().position(|&(epoch, index)| fits(epoch, index))?;
        self.freed.remove(position).map(|(_, index)| index)
    }
}

/// A run of cells that is not in use.
#[derive(Debug, Clone, Copy)]
struct Gap {
    base: u32,
    length: u32,
    /// The epoch in which it was freed; `None`: no packet can be reading it.
    freed: Option<u64>,
}

/// The runs of cells that are not in use.
#[derive(Debug, Clone)]
pub(super) struct Extents {
    /// Sorted by base; disjoint.
    gaps: Vec<Gap>,
    cells: u32,
    high_water: u32,
}

impl Extents {
    /// All of `cells` cells are free.
    pub(super) fn new(cells: u32) -> Self {
        Self { gaps: vec![Gap { base: 0, length: cells, freed: None }], cells, high_water: 0 }
    }

    /// The number of cells in use.
    pub(super) fn used(&self) -> u32 {
        self.cells - self.gaps.iter().map(|gap| gap.length).sum::<u32>()
    }

    /// One past the last cell that was ever in use.
    pub(super) fn high_water(&self) -> u32 {
        self.high_water
    }

    /// Allocates `length` cells that no packet can be reading. Returns the first.
    pub(super) fn take(&mut self, length: u32, writer: &mut Writer) -> Result<u32, Full> {
        self.settle(writer.epoch);
        if let Some(base) = self.first_fit(length) {
            return Ok(base);
        }
        // A grace period may help, because neighbours are joined after it.
        let mut later = self.clone();
        later.settle(writer.epoch + 1);
        let base = later.first_fit(length).ok_or(Full { table: Table::Verdicts })?;
        writer.grace();
        *self = later;
        Ok(base)
    }

    /// Frees a run to which no endpoint leads any more.
    pub(super) fn free(&mut self, base: u32, length: u32, writer: &Writer) {
        let at = self.gaps.partition_point(|gap| gap.base < base);
        self.gaps.insert(at, Gap { base, length, freed: Some(writer.epoch) });
    }

    /// Whether a packet may still be reading a freed run.
    pub(super) fn may_be_read(&self, writer: &Writer) -> bool {
        self.gaps.iter().any(|gap| gap.freed.is_some_and(|freed| freed >= writer.epoch))
    }

    /// Marks the gaps that no packet can be reading in `epoch`, and joins neighbours of these.
    fn settle(&mut self, epoch: u64) {
        let mut settled: Vec<Gap> = Vec::with_capacity(self.gaps.len());
        for mut gap in self.gaps.drain(..) {
            gap.freed = gap.freed.filter(|&freed| freed >= epoch);
            match settled.last_mut() {
                Some(last)
                    if last.freed.is_none()
                        && gap.freed.is_none()
                        && last.base + last.length == gap.base =>
                {
                    last.length += gap.length;
                }
                _ => settled.push(gap),
            }
        }
        self.gaps = settled;
    }

    fn first_fit(&mut self, length: u32) -> Option<u32> {
        let at = self.gaps.iter().position(|gap| gap.freed.is_none() && gap.length >= length)?;
        let gap = &mut self.gaps[at];
        let base = gap.base;
        gap.base += length;
        gap.length -= length;
        if gap.length == 0 {
            self.gaps.remove(at);
        }
        self.high_water = self.high_water.max(base + length);
        Some(base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::Step;

    #[test]
    fn an_index_is_reused_after_a_grace_period_only() {
        let mut writer = Writer::new(0);
        let mut pool = Pool::new(Table::Trie4Blocks, 1, 3);
        assert_eq!(pool.take(&mut writer), Ok(1));
        pool.free(1, &writer);
        assert_eq!(pool.take(&mut writer), Ok(2), "a fresh one needs no grace period");
        assert!(writer.steps.is_empty());
        assert_eq!(pool.take(&mut writer), Ok(1));
        assert_eq!(writer.steps, [Step::Grace]);
        pool.free(2, &writer);
        pool.free(1, &writer);
        assert_eq!(pool.take(&mut writer), Ok(2));
        assert_eq!(pool.take(&mut writer), Ok(1));
        assert_eq!(writer.steps, [Step::Grace, Step::Grace], "one grace period serves both");
        assert!(pool.take(&mut writer).is_err());
        assert_eq!(pool.live(), 2);
    }

    #[test]
    fn a_soft_limit_is_exceeded_only_when_nothing_is_left_below() {
        let mut writer = Writer::new(0);
        let mut pool = Pool::new(Table::Trie4Blocks, 0, 10);
        for expected in 0..3 {
            assert_eq!(pool.take_below(3, &mut writer), Ok(expected));
        }
        pool.free(1, &writer);
        assert_eq!(pool.take_below(3, &mut writer), Ok(1));
        assert_eq!(writer.steps, [Step::Grace]);
        assert_eq!(pool.take_below(3, &mut writer), Ok(3));
    }

    #[test]
    fn the_longest_unused_index_is_fresh_or_the_first_freed() {
        let mut writer = Writer::new(0);
        let mut pool = Pool::new(Table::Endpoints, 1, 4);
        assert_eq!(pool.take_longest_unused(&mut writer), Ok(1));
        pool.free(1, &writer);
        writer.grace();
        assert_eq!(pool.take_longest_unused(&mut writer), Ok(2));
        assert_eq!(pool.take_longest_unused(&mut writer), Ok(3));
        assert_eq!(pool.take_longest_unused(&mut writer), Ok(1));
        assert_eq!(writer.steps.len(), 1);
    }

    #[test]
    fn extents_join_after_a_grace_period() {
        let mut writer = Writer::new(0);
        let mut extents = Extents::new(30);
        let runs: Vec<u32> = (0..3).map(|_| extents.take(10, &mut writer).unwrap()).collect();
        assert_eq!(runs, [0, 10, 20]);
        extents.free(10, 10, &writer);
        extents.free(0, 10, &writer);
        assert!(extents.take(21, &mut writer).is_err());
        assert!(writer.steps.is_empty(), "no grace period if it does not help");
        assert_eq!(extents.take(20, &mut writer), Ok(0));
        assert_eq!(writer.steps, [Step::Grace]);
    }
}
