//! Stages for tables that are too small (semantics R9): the choice of rows to close.
//!
//! A closed row needs no cells, no port sets, and no prefixes that only it distinguishes. When a
//! table is full, rows are closed until the stage fits, in the order of [`super::ranking`]; the
//! other rows stay exact.
//!
//! What was closed stays closed while its table is in as much demand as then, so that later plans
//! need no search and rows do not open and close with every change.

use std::collections::BTreeSet;

use super::desired::Desired;
use super::goal::{Closed, Goal};
use super::ranking::ranking;
use super::shortage::{Full, Table};
use super::state::State;
use super::step::Step;
use super::transition::{Unplaced, advance, empty};
use super::writer::Writer;
use crate::policy::RowId;

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
