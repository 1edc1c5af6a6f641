//! Stages for tables that are too small (semantics R9): the choice of rows to close.
//!
//! A closed row needs no cells, no port sets, and no prefixes that only it distinguishes. When a
//! table is full, rows are closed until the stage fits; the other rows stay exact. Rows that need
//! most of the full table are closed first, among equals those with the fewest users. The need is
//! known for tries and ports only: for other tables all rows count as equal.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::desired::Desired;
use super::goal::{Goal, Wish};
use super::regions::{Family, flatten};
use super::shortage::{Full, Table};
use super::state::State;
use super::step::Step;
use super::transition::{Unplaced, advance, empty};
use super::writer::Writer;
use crate::policy::{Row, RowId, Verdict};

/// Rows to close, each with the table that was too small for it.
type Closed = BTreeMap<RowId, Table>;

/// A stage that fits into the tables.
pub(super) struct Stage {
    /// The state after its steps.
    pub(super) state: State,
    pub(super) steps: Vec<Step>,
    pub(super) outcome: Outcome,
}

/// What is not represented after a stage.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) unplaced: Unplaced,
    pub(super) closed: Closed,
    /// The trie that can't hold even the node's own addresses.
    pub(super) lost: Option<Table>,
}

impl Outcome {
    pub(super) fn closed_rows(&self) -> BTreeSet<RowId> {
        self.closed.keys().copied().collect()
    }
}

/// The stage to `desired` that fits, with as few rows of the ranking closed as possible. `None`: no
/// stage fits.
pub(super) fn fitting_stage(state: &State, desired: &Desired) -> Option<Stage> {
    let mut closed = Closed::new();
    loop {
        let full = match carry_out(state, desired, &closed, advance) {
            Ok(stage) => return Some(stage),
            Err(full) => full,
        };
        let ranking = ranking(desired, full.table, &closed);
        if ranking.is_empty() {
            // All rows are closed: the old addresses take the room of the new ones.
            let mut stage = carry_out(state, desired, &closed, empty).ok()?;
            stage.outcome.lost = Some(full.table);
            return Some(stage);
        }
        let with = |count: usize| {
            let mut more = closed.clone();
            more.extend(ranking.iter().take(count).map(|&row| (row, full.table)));
            more
        };
        // By bisection: the fewest rows for which this table is large enough.
        let (mut low, mut high) = (1, ranking.len());
        while low < high {
            let middle = low.midpoint(high);
            match carry_out(state, desired, &with(middle), advance) {
                Err(again) if again.table == full.table => low = middle + 1,
                _ => high = middle,
            }
        }
        closed = with(low);
    }
}

fn carry_out(
    state: &State,
    desired: &Desired,
    closed: &Closed,
    how: fn(&mut State, &Goal<'_>, &mut Writer) -> Result<Unplaced, Full>,
) -> Result<Stage, Full> {
    let mut outcome = Outcome { closed: closed.clone(), ..Outcome::default() };
    let mut state = state.clone();
    let mut writer = Writer::new(state.epoch);
    let goal = Goal { desired, closed: &outcome.closed_rows() };
    outcome.unplaced = how(&mut state, &goal, &mut writer)?;
    state.epoch = writer.epoch;
    Ok(Stage { state, steps: writer.steps, outcome })
}

/// The number of directions of interfaces that each row judges.
fn users(desired: &Desired) -> BTreeMap<RowId, usize> {
    let goal = Goal { desired, closed: &BTreeSet::new() };
    let mut users = BTreeMap::new();
    for interface in desired.interfaces.values() {
        for wish in goal.wishes(&interface.owner) {
            if let Wish::Row(row) = wish {
                *users.entry(row).or_default() += 1;
            }
        }
    }
    users
}

/// The rows that are not closed yet, in the order in which to close them.
fn ranking(desired: &Desired, table: Table, closed: &Closed) -> Vec<RowId> {
    let needs = needs(desired, table);
    let users = users(desired);
    let mut rows: Vec<RowId> =
        users.keys().copied().filter(|row| !closed.contains_key(row)).collect();
    let need = |row: RowId| needs.get(row).copied().unwrap_or(0);
    rows.sort_by_key(|&row| (Reverse(need(row)), users[&row], Reverse(row)));
    rows
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
        Table::Verdicts | Table::Endpoints | Table::Interfaces => return Vec::new(),
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
