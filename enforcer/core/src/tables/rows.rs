//! Verdict rows: runs of cells in the one big array.

use std::collections::BTreeMap;

use enforcer_ebpf::contract::entry::Cell;

use super::alloc::{Extents, Writer};
use super::shortage::Full;
use super::{Step, sizes};

/// A live row, whatever its place.
pub(super) type RowKey = u32;

/// A cell that was never written since its row began.
const UNWRITTEN: u32 = u32::MAX;

/// A row in the kernel.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Its first cell.
    pub(super) base: u32,
    /// By class id; as long as its run of cells.
    cells: Vec<u32>,
}

impl Row {
    /// The cell of a class that some address has.
    pub(super) fn cell(&self, class: u32) -> u32 {
        self.cells.get(class as usize).copied().unwrap_or(Cell::DENY.0)
    }

    /// How many classes it has room for.
    pub(super) fn capacity(&self) -> u32 {
        u32::try_from(self.cells.len()).unwrap_or(u32::MAX)
    }
}

/// The live rows.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    rows: BTreeMap<RowKey, Row>,
    next: RowKey,
    extents: Extents,
}

impl Rows {
    /// No row, in `blocks` blocks of cells.
    pub(super) fn new(blocks: u32) -> Self {
        Self::with_cells(blocks.saturating_mul(sizes::SLOTS))
    }

    /// No row, in so many cells.
    pub(super) fn with_cells(cells: u32) -> Self {
        Self { rows: BTreeMap::new(), next: 0, extents: Extents::new(cells) }
    }

    /// How many blocks of cells have ever been in use.
    pub(super) fn high_water(&self) -> u32 {
        self.extents.high_water().div_ceil(sizes::SLOTS)
    }

    pub(super) fn get(&self, key: RowKey) -> Option<&Row> {
        self.rows.get(&key)
    }

    pub(super) fn keys(&self) -> Vec<RowKey> {
        self.rows.keys().copied().collect()
    }

    /// The smallest row's room; `None` without rows.
    pub(super) fn capacity(&self) -> Option<u32> {
        self.rows.values().map(Row::capacity).min()
    }

    /// Writes a row that no endpoint has yet.
    pub(super) fn add(&mut self, cells: &[u32], writer: &mut Writer) -> Result<RowKey, Full> {
        let row = self.place(cells, writer)?;
        let key = self.next;
        self.next = self.next.wrapping_add(1);
        self.rows.insert(key, row);
        Ok(key)
    }

    /// Moves a row to where it has room for `classes`; gives the place that it leaves, to be
    /// [freed](Self::free) when no endpoint has it any more.
    pub(super) fn grow(
        &mut self,
        key: RowKey,
        classes: u32,
        writer: &mut Writer,
    ) -> Result<Option<(u32, u32)>, Full> {
        let Some(old) = self.rows.get(&key).filter(|row| row.capacity() < classes).cloned() else {
            return Ok(None);
        };
        let mut cells: Vec<u32> = old.cells.clone();
        cells.resize(classes as usize, UNWRITTEN);
        let row = self.place(&cells, writer)?;
        let place = (old.base, old.capacity());
        self.rows.insert(key, row);
        Ok(Some(place))
    }

    /// Says what a class is to a row. No packet that has this row may see the class yet.
    pub(super) fn write(&mut self, key: RowKey, class: u32, cell: u32, writer: &mut Writer) {
        let Some(row) = self.rows.get_mut(&key) else { return };
        let Some(place) = row.cells.get_mut(class as usize) else { return };
        if *place != cell {
            *place = cell;
            writer.push(Step::Verdict { index: row.base + class, cell: Cell(cell) });
        }
    }

    /// Takes back the row, which no endpoint has any more.
    pub(super) fn remove(&mut self, key: RowKey, writer: &Writer) {
        if let Some(row) = self.rows.remove(&key) {
            self.free((row.base, row.capacity()), writer);
        }
    }

    /// Takes back the place of a row that has grown.
    pub(super) fn free(&mut self, (base, length): (u32, u32), writer: &Writer) {
        self.extents.give(base, length, writer);
    }

    /// Waits until no packet reads a place that was taken back, not even beyond its end.
    pub(super) fn rest(&self, writer: &mut Writer) {
        if self.extents.unrested(writer) {
            writer.grace();
        }
    }

    /// A row with these cells and some to spare.
    fn place(&mut self, cells: &[u32], writer: &mut Writer) -> Result<Row, Full> {
        let length = u32::try_from(cells.len()).unwrap_or(u32::MAX);
        let roomy = length.saturating_add(length / 4).saturating_add(16);
        let mut capacity = roomy;
        let base = match self.extents.take(roomy, writer) {
            Ok(base) => base,
            Err(_) => {
                capacity = length;
                self.extents.take(length, writer)?
            }
        };
        let known = |&cell: &u32| if cell == UNWRITTEN { Cell::DENY } else { Cell(cell) };
        writer.push(Step::Verdicts { index: base, cells: cells.iter().map(known).collect() });
        let mut cells: Vec<u32> = cells.iter().map(|cell| known(cell).0).collect();
        cells.resize(capacity as usize, UNWRITTEN);
        Ok(Row { base, cells })
    }
}
