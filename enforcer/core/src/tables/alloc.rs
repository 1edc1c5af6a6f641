//! Indices that are handed out and taken back, and the list of steps that this depends on.
//!
//! A packet may still be reading what has just been unlinked. So everything that is given back
//! remembers the *epoch* (the number of [`Step::Grace`]s so far) in which that happened, and is
//! handed out again only in a later one. A `Grace` is asked for only when nothing else is left,
//! so that ordinary changes never wait.

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
    /// What was given back, oldest first, with the epoch of that moment.
    freed: VecDeque<(u64, u32)>,
}

impl Pool {
    /// A pool of the indices `first..limit`.
    pub(super) fn new(table: Table, first: u32, limit: u32) -> Self {
        Self { table, first, fresh: first, limit, freed: VecDeque::new() }
    }

    /// A pool of the indices `first..limit`, of which those before `fresh` are in use.
    pub(super) fn starting(table: Table, first: u32, fresh: u32, limit: u32) -> Self {
        Self { fresh, ..Self::new(table, first, limit) }
    }

    /// The same pool where those of `first..fresh` that `used` refuses were given back long ago.
    pub(super) fn resumed(self, fresh: u32, used: impl Fn(u32) -> bool) -> Self {
        let freed = (self.first..fresh).filter(|index| !used(*index)).map(|index| (0, index));
        Self { fresh: fresh.max(self.first), freed: freed.collect(), ..self }
    }

    /// How many indices are in use.
    pub(super) fn live(&self) -> usize {
        (self.fresh - self.first) as usize - self.freed.len()
    }

    /// One past the largest index that was ever handed out.
    pub(super) fn high_water(&self) -> u32 {
        self.fresh
    }

    /// An index that no packet can be using.
    pub(super) fn take(&mut self, writer: &mut Writer) -> Result<u32, Full> {
        self.take_below(self.limit, writer)
    }

    /// The same, but rather wait than take an index of `soft` or more.
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

    /// An index that has rested as long as possible.
    pub(super) fn take_rested(&mut self, writer: &mut Writer) -> Result<u32, Full> {
        if self.fresh < self.limit {
            return Ok(self.next_fresh());
        }
        self.take_oldest(writer)
    }

    /// Takes back an index that no table leads to any more.
    pub(super) fn give(&mut self, index: u32, writer: &Writer) {
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
    /// The epoch in which it was given back; `None`: never used, or rested long enough.
    freed: Option<u64>,
}

/// Runs of verdict cells.
#[derive(Debug, Clone)]
pub(super) struct Extents {
    /// By base; disjoint.
    gaps: Vec<Gap>,
    high_water: u32,
}

impl Extents {
    /// All of `cells` cells are free.
    pub(super) fn new(cells: u32) -> Self {
        Self { gaps: vec![Gap { base: 0, length: cells, freed: None }], high_water: 0 }
    }

    /// One past the last cell that was ever handed out.
    pub(super) fn high_water(&self) -> u32 {
        self.high_water
    }

    /// A run of `length` cells that no packet can be reading; gives its first cell.
    pub(super) fn take(&mut self, length: u32, writer: &mut Writer) -> Result<u32, Full> {
        self.settle(writer.epoch);
        if let Some(base) = self.first_fit(length) {
            return Ok(base);
        }
        // Would waiting help? Neighbours join then, so look at what the gaps would be.
        let mut rested = self.clone();
        rested.settle(writer.epoch + 1);
        let base = rested.first_fit(length).ok_or(Full { table: Table::Verdicts })?;
        writer.grace();
        *self = rested;
        Ok(base)
    }

    /// Takes back a run that no endpoint leads to any more.
    pub(super) fn give(&mut self, base: u32, length: u32, writer: &Writer) {
        let at = self.gaps.partition_point(|gap| gap.base < base);
        self.gaps.insert(at, Gap { base, length, freed: Some(writer.epoch) });
    }

    /// Whether a packet may still be reading something that was given back.
    pub(super) fn unrested(&self, writer: &Writer) -> bool {
        self.gaps.iter().any(|gap| gap.freed.is_some_and(|freed| freed >= writer.epoch))
    }

    /// Marks what has rested by `epoch`, and joins such neighbours.
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
    fn an_index_rests_before_it_is_used_again() {
        let mut writer = Writer::new(0);
        let mut pool = Pool::new(Table::Trie4Blocks, 1, 3);
        assert_eq!(pool.take(&mut writer), Ok(1));
        pool.give(1, &writer);
        assert_eq!(pool.take(&mut writer), Ok(2), "a fresh one costs no waiting");
        assert!(writer.steps.is_empty());
        assert_eq!(pool.take(&mut writer), Ok(1));
        assert_eq!(writer.steps, [Step::Grace]);
        pool.give(2, &writer);
        pool.give(1, &writer);
        assert_eq!(pool.take(&mut writer), Ok(2));
        assert_eq!(pool.take(&mut writer), Ok(1));
        assert_eq!(writer.steps, [Step::Grace, Step::Grace], "one wait serves both");
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
        pool.give(1, &writer);
        assert_eq!(pool.take_below(3, &mut writer), Ok(1));
        assert_eq!(writer.steps, [Step::Grace]);
        assert_eq!(pool.take_below(3, &mut writer), Ok(3));
    }

    #[test]
    fn rested_indices_come_last_and_oldest_first() {
        let mut writer = Writer::new(0);
        let mut pool = Pool::new(Table::Endpoints, 1, 4);
        assert_eq!(pool.take_rested(&mut writer), Ok(1));
        pool.give(1, &writer);
        writer.grace();
        assert_eq!(pool.take_rested(&mut writer), Ok(2));
        assert_eq!(pool.take_rested(&mut writer), Ok(3));
        assert_eq!(pool.take_rested(&mut writer), Ok(1));
        assert_eq!(writer.steps.len(), 1);
    }

    #[test]
    fn extents_join_when_they_have_rested() {
        let mut writer = Writer::new(0);
        let mut extents = Extents::new(30);
        let runs: Vec<u32> = (0..3).map(|_| extents.take(10, &mut writer).unwrap()).collect();
        assert_eq!(runs, [0, 10, 20]);
        extents.give(10, 10, &writer);
        extents.give(0, 10, &writer);
        assert!(extents.take(21, &mut writer).is_err());
        assert!(writer.steps.is_empty(), "no waiting for what waiting can't give");
        assert_eq!(extents.take(20, &mut writer), Ok(0));
        assert_eq!(writer.steps, [Step::Grace]);
    }
}
