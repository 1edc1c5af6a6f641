//! Verdict rows: runs of cells in one large array.

use std::collections::BTreeMap;

use enforcer_ebpf::contract::entry::Cell;

use super::alloc::Extents;
use super::shortage::Full;
use super::sizes;
use super::step::Step;
use super::writer::Writer;

/// Identifies a live row, independent of its place.
pub(super) type RowKey = u32;

/// A cell that has not been written since its row was placed.
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

    /// The number of classes that fit.
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

    /// No row, in this number of cells.
    pub(super) fn with_cells(cells: u32) -> Self {
        Self { rows: BTreeMap::new(), next: 0, extents: Extents::new(cells) }
    }

    /// The number of cells in use, in blocks.
    pub(super) fn used(&self) -> u32 {
        self.extents.used().div_ceil(sizes::SLOTS)
    }

    /// The number of blocks of cells that have ever been in use.
    pub(super) fn high_water(&self) -> u32 {
        self.extents.high_water().div_ceil(sizes::SLOTS)
    }

    pub(super) fn get(&self, key: RowKey) -> Option<&Row> {
        self.rows.get(&key)
    }

    pub(super) fn keys(&self) -> Vec<RowKey> {
        self.rows.keys().copied().collect()
    }

    /// The smallest row's capacity; `None` without rows.
    pub(super) fn capacity(&self) -> Option<u32> {
        self.rows.values().map(Row::capacity).min()
    }

    /// Writes a new row, which no endpoint has yet.
    pub(super) fn add(&mut self, cells: &[u32], writer: &mut Writer) -> Result<RowKey, Full> {
        let row = self.place(cells, writer)?;
        let key = self.next;
        self.next = self.next.wrapping_add(1);
        self.rows.insert(key, row);
        Ok(key)
    }

    /// Moves a row to a place with room for `classes`, if it has less. Returns the old place, which
    /// the caller must [free](Self::free) when no endpoint has it any more.
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

    /// Writes the cell of a class. No packet that has this row may see the class yet.
    pub(super) fn write(&mut self, key: RowKey, class: u32, cell: u32, writer: &mut Writer) {
        let Some(row) = self.rows.get_mut(&key) else { return };
        let Some(place) = row.cells.get_mut(class as usize) else { return };
        if *place != cell {
            *place = cell;
            writer.push(Step::Verdict { index: row.base + class, cell: Cell(cell) });
        }
    }

    /// Removes a row that no endpoint has any more.
    pub(super) fn remove(&mut self, key: RowKey, writer: &Writer) {
        if let Some(row) = self.rows.remove(&key) {
            self.free((row.base, row.capacity()), writer);
        }
    }

    /// Frees the old place of a row that has grown.
    pub(super) fn free(&mut self, (base, length): (u32, u32), writer: &Writer) {
        self.extents.free(base, length, writer);
    }

    /// Waits until no packet reads a freed place, not even beyond its end.
    pub(super) fn wait_for_readers(&self, writer: &mut Writer) {
        if self.extents.may_be_read(writer) {
            writer.grace();
        }
    }

    /// A row with these cells, with spare ones if they fit.
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
