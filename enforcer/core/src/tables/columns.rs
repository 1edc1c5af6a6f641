//! The desired verdicts as cells, with columns that no live row tells apart made one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use enforcer_ebpf::contract::entry::Cell;

use super::ports::Ports;
use crate::policy::{Column, Compiled, PortSet, RowId, Verdict};

/// The desired verdicts as cells.
#[derive(Debug)]
pub(super) struct Columns {
    /// The compiler's column → ours.
    of: Vec<u32>,
    /// Ours → a cell for each live row.
    cells: Vec<Vec<u32>>,
    /// The live rows, in the order of the cells.
    pub(super) rows: Vec<RowId>,
}

impl Columns {
    /// The columns of these rows. Every port set of theirs must be live in `ports`.
    pub(super) fn new(compiled: &Compiled, rows: Vec<RowId>, ports: &Ports) -> Self {
        // An address in a column that no row has is denied; the compiler makes none.
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
        let mut names: BTreeMap<Vec<u32>, u32> = BTreeMap::new();
        let mut distinct: Vec<Vec<u32>> = Vec::new();
        let mut of = Vec::with_capacity(count);
        for cells in all {
            let name = match names.get(&cells) {
                Some(&name) => name,
                None => {
                    let name = u32::try_from(distinct.len()).unwrap_or(u32::MAX);
                    distinct.push(cells.clone());
                    names.insert(cells, name);
                    name
                }
            };
            of.push(name);
        }
        Self { of, cells: distinct, rows }
    }

    /// Our column of the compiler's.
    pub(super) fn of(&self, column: Column) -> u32 {
        self.of.get(column).or(self.of.first()).copied().unwrap_or(0)
    }

    /// What the live row at `position` says of one of our columns.
    pub(super) fn cell(&self, column: u32, position: usize) -> u32 {
        self.cells[column as usize][position]
    }

    /// How many columns there are.
    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    /// The port sets that any cell names.
    pub(super) fn sets(&self) -> BTreeSet<u32> {
        self.cells.iter().flatten().copied().filter(|&cell| cell >= Cell::FIRST_SET).collect()
    }
}

/// The port sets of these rows.
pub(super) fn port_sets<'a>(compiled: &'a Compiled, rows: &[RowId]) -> BTreeSet<&'a PortSet> {
    let rows = rows.iter().filter_map(|&row| compiled.rows.get(row));
    let mut seen = std::collections::HashSet::new();
    let sets = rows.flat_map(|row| &row.verdicts).filter_map(|verdict| match verdict {
        Verdict::Ports(set) => Some(set.as_ref()),
        _ => None,
    });
    sets.filter(|set| seen.insert(*set)).collect()
}
