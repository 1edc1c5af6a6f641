//! Stages for tables that are too small (semantics R9): the choice of rows to close.
//!
//! A closed row needs no cells, no port sets, and no prefixes that only it distinguishes. When a
//! table is full, rows are closed until the stage fits, in the order of [`super::ranking`]; the
//! other rows stay exact.
//!
//! What was closed stays closed while its table is in as much demand as then, so that later plans
//! need no search and rows do not open and close with every change.

use std::collections::{BTreeMap, BTreeSet};

use super::desired::Desired;
use enforcer_ebpf::contract::verdict::Direction;

use super::goal::{Goal, closed_directions, judged};
use super::ranking::{Demand, ranking};
use super::shortage::{Full, Table};
use super::state::State;
use super::step::Step;
use super::transition::{Unplaced, advance, empty};
use super::writer::Writer;
use crate::model::PodId;
use crate::policy::RowId;

/// Rows to close, each with the table that was too small for it.
pub(super) type Closed = BTreeMap<RowId, Table>;

/// The directions that were closed by the last plan, and the demand that closed them.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    directions: BTreeMap<(PodId, Direction), Table>,
    demands: BTreeMap<Table, usize>,
    /// The size of each full table that would be enough for that demand.
    pub(super) sizes: BTreeMap<Table, u32>,
}

impl Held {
    /// What the plan to `desired` has closed. `kept`: the rows that stay closed from before.
    pub(super) fn new(desired: &Desired, closed: &Closed, before: Self, kept: &Closed) -> Self {
        let mut held = Self::default();
        for (&row, &table) in closed {
            let row = BTreeSet::from([row]);
            let directions = closed_directions(desired, &row);
            held.directions.extend(directions.into_iter().map(|it| (it, table)));
        }
        let (known, new): (BTreeSet<Table>, BTreeSet<Table>) = closed
            .values()
            .partition(|table| kept.values().any(|it| it == *table) && closed.len() == kept.len());
        held.demands = before.demands.into_iter().filter(|it| known.contains(&it.0)).collect();
        held.sizes = before.sizes.into_iter().filter(|it| known.contains(&it.0)).collect();
        held.demands.extend(new.into_iter().map(|it| (it, Demand::new(desired, it).total())));
        held
    }

    /// The rows of `desired` that stay closed: all their directions were closed, and the demand for
    /// the table has not fallen by a sixteenth since. None if everything would have fitted, but not
    /// beside what it replaced.
    pub(super) fn closed(&self, desired: &Desired, limit: impl Fn(Table) -> u32) -> Closed {
        let mut users: BTreeMap<RowId, Vec<Option<Table>>> = BTreeMap::new();
        if self.directions.is_empty() {
            return Closed::new();
        }
        let demanded = |(table, before): (&Table, &usize)| {
            self.sizes.get(table).is_some_and(|size| *size > limit(*table))
                && Demand::new(desired, *table).total() > before - before / 16
        };
        let full: BTreeSet<Table> =
            self.demands.iter().filter(|it| demanded(*it)).map(|(table, _)| *table).collect();
        for (pod, direction, row) in judged(desired) {
            let table = self.directions.get(&(pod.clone(), direction)).copied();
            users.entry(row).or_default().push(table.filter(|it| full.contains(it)));
        }
        let stays = |(row, tables): (RowId, Vec<Option<Table>>)| {
            let all: Option<Vec<Table>> = tables.into_iter().collect();
            Some((row, *all?.first()?))
        };
        users.into_iter().filter_map(stays).collect()
    }
}

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

/// The stage to `desired` that fits, with `closed` and as few further rows of the ranking closed as
/// possible. `None`: no stage fits.
pub(super) fn fitting_stage(state: &State, desired: &Desired, mut closed: Closed) -> Option<Stage> {
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
