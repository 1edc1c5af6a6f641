//! Verdict rows: runs of cells in one large array.

use std::collections::BTreeMap;
use std::sync::Arc;

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

/// Cells that are copied together.
const CHUNK: usize = 256;

type Chunk = [u32; CHUNK];

/// A row in the kernel.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Its first cell.
    pub(super) base: u32,
    /// The length of its run of cells.
    capacity: u32,
    /// By class id.
    chunks: Vec<Arc<Chunk>>,
}

impl Row {
    fn new(base: u32, capacity: u32, cells: &[u32]) -> Self {
        let chunk = |cells: &[u32]| {
            let mut chunk = [UNWRITTEN; CHUNK];
            chunk[..cells.len()].copy_from_slice(cells);
            Arc::new(chunk)
        };
        let mut chunks: Vec<Arc<Chunk>> = cells.chunks(CHUNK).map(chunk).collect();
        let unwritten = Arc::new([UNWRITTEN; CHUNK]);
        chunks.resize((capacity as usize).div_ceil(CHUNK), unwritten);
        Self { base, capacity, chunks }
    }

    /// The cell of a class that some address has.
    pub(super) fn cell(&self, class: u32) -> u32 {
        let class = class as usize;
        self.chunks.get(class / CHUNK).map_or(Cell::DENY.0, |chunk| chunk[class % CHUNK])
    }

    /// The number of classes that fit.
    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// All cells, and more up to the end of a chunk.
    fn cells(&self) -> impl Iterator<Item = u32> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().copied())
    }

    /// The place of a cell, if the class fits.
    fn place(&mut self, class: u32) -> Option<&mut u32> {
        let at = class as usize;
        let chunk = self.chunks.get_mut(at / CHUNK).filter(|_| class < self.capacity)?;
        Some(&mut Arc::make_mut(chunk)[at % CHUNK])
    }
}

/// The live rows.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    rows: BTreeMap<RowKey, Arc<Row>>,
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
        self.rows.get(&key).map(Arc::as_ref)
    }

    pub(super) fn keys(&self) -> Vec<RowKey> {
        self.rows.keys().copied().collect()
    }

    /// The smallest row's capacity; `None` without rows.
    pub(super) fn capacity(&self) -> Option<u32> {
        self.rows.values().map(|row| row.capacity()).min()
    }

    /// Writes a new row, which no endpoint has yet.
    pub(super) fn add(&mut self, cells: &[u32], writer: &mut Writer) -> Result<RowKey, Full> {
        let row = self.place(cells, writer)?;
        let key = self.next;
        self.next = self.next.wrapping_add(1);
        self.rows.insert(key, Arc::new(row));
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
        let mut cells: Vec<u32> = old.cells().take(old.capacity as usize).collect();
        cells.resize(classes as usize, UNWRITTEN);
        let row = self.place(&cells, writer)?;
        let place = (old.base, old.capacity());
        self.rows.insert(key, Arc::new(row));
        Ok(Some(place))
    }

    /// Writes the cell of a class. No packet that has this row may see the class yet.
    pub(super) fn write(&mut self, key: RowKey, class: u32, cell: u32, writer: &mut Writer) {
        let Some(row) = self.rows.get_mut(&key) else { return };
        if class >= row.capacity || row.cell(class) == cell {
            return;
        }
        let row = Arc::make_mut(row);
        if let Some(place) = row.place(class) {
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
        let cells: Vec<u32> = cells.iter().map(|cell| known(cell).0).collect();
        Ok(Row::new(base, capacity, &cells))
    }
}
