//! The order in which rows are closed if a table is too small (semantics R9).
//!
//! A namespace that demands most of the table loses its largest row, again and again. So the rows of
//! a namespace with less than its fair share of the table are never closed before those of one with
//! more. Among equals, rows with the fewest users go first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::desired::Desired;
use super::goal::{Closed, judged};
use super::regions::{Family, flatten};
use super::shortage::Table;
use crate::policy::{Row, RowId, Verdict};

/// The demand of the desired rows for one table.
pub(super) struct Demand {
    rows: BTreeMap<RowId, Asker>,
}

/// A row, and what it demands.
#[derive(Default)]
struct Asker {
    /// Roughly how much of the table it needs, compared with other rows.
    need: usize,
    /// The number of directions of pods that it judges.
    users: usize,
    namespaces: BTreeSet<String>,
}

impl Demand {
    pub(super) fn new(desired: &Desired, table: Table) -> Self {
        let needs = needs(desired, table);
        let mut rows: BTreeMap<RowId, Asker> = BTreeMap::new();
        for (pod, _, row) in judged(desired) {
            let asker = rows.entry(row).or_default();
            // A row needs something even if nothing distinguishes it.
            asker.need = needs.get(row).copied().unwrap_or(0) + 1;
            asker.users += 1;
            if !asker.namespaces.contains(pod.namespace.as_str()) {
                asker.namespaces.insert(pod.namespace.to_string());
            }
        }
        Self { rows }
    }

    pub(super) fn total(&self) -> usize {
        self.rows.values().map(|it| it.need).sum()
    }

    /// The rows of each namespace, and its demand. A row of several namespaces is that of the one
    /// that demands least: the others can't make it a greedy one's.
    fn namespaces(&self, closed: &Closed) -> BTreeMap<&str, (usize, Vec<RowId>)> {
        let mut demands: BTreeMap<&str, usize> = BTreeMap::new();
        let open = || self.rows.iter().filter(|(row, _)| !closed.contains_key(row));
        for (_, asker) in open() {
            for namespace in &asker.namespaces {
                *demands.entry(namespace).or_default() += asker.need;
            }
        }
        let mut namespaces: BTreeMap<&str, (usize, Vec<RowId>)> = BTreeMap::new();
        for (&row, asker) in open() {
            let names = asker.namespaces.iter().map(String::as_str);
            let Some(owner) = names.min_by_key(|name| demands.get(name)) else { continue };
            let (demand, rows) = namespaces.entry(owner).or_default();
            *demand += asker.need;
            rows.push(row);
        }
        for (_, rows) in namespaces.values_mut() {
            // The first to be closed last.
            rows.sort_by_key(|row| {
                let asker = &self.rows[row];
                Reverse((Reverse(asker.need), asker.users, Reverse(*row)))
            });
        }
        namespaces
    }
}

/// The rows that are not closed yet, in the order in which to close them.
pub(super) fn ranking(desired: &Desired, table: Table, closed: &Closed) -> Vec<RowId> {
    let demand = Demand::new(desired, table);
    let mut namespaces: Vec<(usize, Vec<RowId>)> =
        demand.namespaces(closed).into_values().collect();
    let mut ranking = Vec::new();
    loop {
        let demanding = namespaces.iter_mut().filter(|(_, rows)| !rows.is_empty());
        let Some((left, rows)) = demanding.max_by_key(|(left, _)| *left) else { return ranking };
        let Some(row) = rows.pop() else { return ranking };
        *left -= demand.rows[&row].need;
        ranking.push(row);
    }
}

/// By row: roughly how much of the table it needs, compared with other rows. Empty if unknown.
fn needs(desired: &Desired, table: Table) -> Vec<usize> {
    let compiled = &desired.compiled;
    let family = match table {
        Table::Trie4Blocks => Family::V4,
        Table::Trie6Nodes | Table::Trie6Leaves => Family::V6,
        Table::PortSets | Table::PortClasses => {
            return compiled.rows.iter().map(distinct_sets).collect();
        }
        Table::Verdicts => return compiled.rows.iter().map(named_columns).collect(),
        Table::Endpoints | Table::Interfaces => return Vec::new(),
    };
    let map = flatten(compiled, family);
    let columns: Vec<usize> = map.ranges().map(|(_, _, wanted)| wanted.column).collect();
    let borders = |row: &Row| {
        let differ = |pair: &&[usize]| row.verdicts.get(pair[0]) != row.verdicts.get(pair[1]);
        columns.windows(2).filter(differ).count()
    };
    compiled.rows.iter().map(borders).collect()
}

fn distinct_sets(row: &Row) -> usize {
    let sets = row.verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Ports(_)));
    sets.collect::<HashSet<_>>().len()
}

/// The columns that exist because of the row, and perhaps of others: those that it distinguishes
/// from the addresses that nothing names.
fn named_columns(row: &Row) -> usize {
    let Some(base) = row.verdicts.first() else { return 0 };
    row.verdicts.iter().filter(|verdict| *verdict != base).count()
}
