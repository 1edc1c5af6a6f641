//! The choice of class ids: which id each address gets.
//!
//! A class id is only an index; each row gives it its meaning. Addresses that have the id *o* now
//! and belong to column *n* afterwards form a *pair*. All addresses of a pair get the same id *c*.
//! For C1, *c* must satisfy when an address is flipped from *o* to *c*:
//!
//! - in rows that are *kept*: the cell of *c* is the desired verdict of *n* (the flip of the
//!   address changes the verdict);
//! - in rows that are *retired*: the cell of *c* is the cell of *o* (endpoints that are still on
//!   the row see no change; they change when they are flipped to their new row);
//! - in *new* rows: the cell of *c* is the desired verdict of *n*. These cells are fresh, so *c*
//!   only has to mean one column.
//!
//! A pair keeps *o* if *o* satisfies these conditions. Otherwise all pairs of the same *n* and the
//! same retired cells share an id: one that is in use if one fits, else a new one.

use std::collections::HashMap;

use super::columns::Columns;
use super::rows::Row;
use crate::interner::Interner;

/// The addresses that have one class id now and belong to one column afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) old: u32,
    pub(super) column: u32,
    /// Roughly the number of words to write to change them.
    pub(super) weight: u64,
}

/// All pairs.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    pub(super) list: Vec<Pair>,
    index: HashMap<(u32, u32), u32>,
    /// By class id, the pair of the last query: neighbours are mostly alike.
    recent: Vec<Option<(u32, u32)>>,
}

impl Pairs {
    /// The pair's number in the list.
    pub(super) fn number(&mut self, old: u32, column: u32) -> usize {
        let at = old as usize;
        if at >= self.recent.len() {
            self.recent.resize(at + 1, None);
        }
        if let Some((recent, number)) = self.recent[at]
            && recent == column
        {
            return number as usize;
        }
        let next = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        let number = *self.index.entry((old, column)).or_insert(next);
        if number == next {
            self.list.push(Pair { old, column, weight: 0 });
        }
        self.recent[at] = Some((column, number));
        number as usize
    }

    /// The class ids in use.
    pub(super) fn live(&self) -> Vec<u32> {
        let mut live: Vec<u32> = self.list.iter().map(|pair| pair.old).collect();
        live.sort_unstable();
        live.dedup();
        live
    }
}

/// A class id in use, or one still to be allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Live(u32),
    /// A position in [`Assignment::fresh`].
    Fresh(usize),
}

/// The id of each pair.
#[derive(Debug)]
pub(super) struct Assignment {
    /// By the number of the pair.
    pub(super) targets: Vec<Target>,
    /// For each id to be allocated: one of the pairs that get it.
    pub(super) fresh: Vec<Pair>,
}

/// The rows that endpoints have while addresses are flipped.
#[derive(Debug)]
pub(super) struct LiveRows<'a> {
    /// Rows that are kept, with their positions in the columns' cells.
    pub(super) kept: Vec<(&'a Row, usize)>,
    /// Rows that endpoints leave afterwards.
    pub(super) retired: Vec<&'a Row>,
}

impl LiveRows<'_> {
    fn fits(&self, class: u32, columns: &Columns, column: u32) -> bool {
        self.kept.iter().all(|&(row, at)| row.cell(class) == columns.cell(column, at))
    }

    fn retired_cells(&self, class: u32) -> Vec<u32> {
        self.retired.iter().map(|row| row.cell(class)).collect()
    }
}

/// Chooses an id for each pair.
pub(super) fn assign(pairs: &Pairs, rows: &LiveRows<'_>, columns: &Columns) -> Assignment {
    let list = &pairs.list;
    let mut order: Vec<usize> = (0..list.len()).collect();
    order.sort_by_key(|&at| (std::cmp::Reverse(list[at].weight), list[at].old, list[at].column));

    let signatures = signatures(pairs, rows);
    let mut targets: Vec<Option<Target>> = vec![None; list.len()];
    let mut named: HashMap<(u32, usize), Target> = HashMap::new();
    let mut meaning: HashMap<u32, u32> = HashMap::new();
    for &at in &order {
        let Pair { old, column, .. } = list[at];
        // Two columns that fit the same id differ in a new row, where it can mean only one.
        if !meaning.contains_key(&old) && rows.fits(old, columns, column) {
            meaning.insert(old, column);
            targets[at] = Some(Target::Live(old));
            named.entry((column, signatures[&old])).or_insert(Target::Live(old));
        }
    }

    let mut spare = spare(pairs, rows, &meaning, &signatures);
    let mut fresh = Vec::new();
    for &at in order.iter().filter(|&&at| targets[at].is_none()).collect::<Vec<_>>() {
        let pair = list[at];
        let signature = signatures[&pair.old];
        targets[at] = Some(*named.entry((pair.column, signature)).or_insert_with(|| {
            let cells = rows.kept.iter().map(|&(_, row)| columns.cell(pair.column, row)).collect();
            if let Some(class) = spare.get_mut(&(cells, signature)).and_then(Vec::pop) {
                return Target::Live(class);
            }
            fresh.push(pair);
            Target::Fresh(fresh.len() - 1)
        }));
    }
    Assignment { targets: targets.into_iter().flatten().collect(), fresh }
}

/// A number for each id's cells in the retired rows: equal cells have equal numbers.
fn signatures(pairs: &Pairs, rows: &LiveRows<'_>) -> HashMap<u32, usize> {
    let mut distinct: Interner<Vec<u32>> = Interner::default();
    let signature = |class| (class, distinct.intern(rows.retired_cells(class)));
    pairs.live().into_iter().map(signature).collect()
}

/// The ids in use that none of their own pairs keeps, by their cells.
fn spare(
    pairs: &Pairs,
    rows: &LiveRows<'_>,
    meaning: &HashMap<u32, u32>,
    signatures: &HashMap<u32, usize>,
) -> HashMap<(Vec<u32>, usize), Vec<u32>> {
    let mut spare: HashMap<(Vec<u32>, usize), Vec<u32>> = HashMap::new();
    for class in pairs.live().into_iter().rev().filter(|class| !meaning.contains_key(class)) {
        let cells = rows.kept.iter().map(|(row, _)| row.cell(class)).collect();
        spare.entry((cells, signatures[&class])).or_default().push(class);
    }
    spare
}
