//! The desired verdicts as cells. Columns that no live row distinguishes are merged.

use std::collections::{BTreeSet, HashMap, HashSet};

use enforcer_ebpf::contract::entry::Cell;

use super::ports::Ports;
use crate::interner::Interner;
use crate::policy::{Column, Compiled, PortSet, RowId, Verdict};

/// The desired verdicts as cells.
#[derive(Debug)]
pub(super) struct Columns {
    /// The compiler's column → the merged column.
    of: Vec<u32>,
    /// Merged column → a cell for each live row.
    cells: Vec<Vec<u32>>,
    /// The live rows, in the order of the cells.
    pub(super) rows: Vec<RowId>,
}

impl Columns {
    /// The columns of these rows. Each of their port sets must be live in `ports`.
    pub(super) fn new(compiled: &Compiled, rows: Vec<RowId>, ports: &Ports) -> Self {
        // An address in a column that no row has is denied; the compiler produces none.
        let named = compiled.addresses.values().max().map_or(0, |column| column + 1);
        let count = compiled.columns.max(named).max(1);
        let mut all = vec![Vec::with_capacity(rows.len()); count];
        let mut cells: HashMap<&PortSet, u32> = HashMap::new();
        for &row in &rows {
            let verdicts = compiled.rows.get(row).map_or(&[][..], |row| &row.verdicts);
            for (column, of_column) in all.iter_mut().enumerate() {
                of_column.push(match verdicts.get(column) {
                    None | Some(Verdict::Deny) => Cell::DENY.0,
                    Some(Verdict::Allow) => Cell::ALLOW.0,
                    Some(Verdict::Ports(set)) => {
                        *cells.entry(set).or_insert_with(|| ports.id(set).unwrap_or(Cell::DENY.0))
                    }
                });
            }
        }
        let mut distinct: Interner<Vec<u32>> = Interner::default();
        let number = |cells| u32::try_from(distinct.intern(cells)).unwrap_or(u32::MAX);
        let of = all.into_iter().map(number).collect();
        Self { of, cells: distinct.into_values(), rows }
    }

    /// The merged column of the compiler's column.
    pub(super) fn of(&self, column: Column) -> u32 {
        self.of.get(column).or(self.of.first()).copied().unwrap_or(0)
    }

    /// The cell of a merged column in the live row at `position`.
    pub(super) fn cell(&self, column: u32, position: usize) -> u32 {
        self.cells[column as usize][position]
    }

    /// The number of merged columns.
    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    /// The port sets in any cell.
    pub(super) fn sets(&self) -> BTreeSet<u32> {
        self.cells.iter().flatten().copied().filter(|&cell| cell >= Cell::FIRST_SET).collect()
    }
}

/// The port sets of these rows.
pub(super) fn port_sets<'a>(compiled: &'a Compiled, rows: &[RowId]) -> BTreeSet<&'a PortSet> {
    let rows = rows.iter().filter_map(|&row| compiled.rows.get(row));
    let mut seen = HashSet::new();
    let sets = rows.flat_map(|row| &row.verdicts).filter_map(|verdict| match verdict {
        Verdict::Ports(set) => Some(set.as_ref()),
        _ => None,
    });
    sets.filter(|set| seen.insert(*set)).collect()
}
