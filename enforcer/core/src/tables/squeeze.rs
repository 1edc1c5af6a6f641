//! Plans for tables that are too small (semantics R9): which rows are closed.
//!
//! Closing a row lowers what is needed of every table: its cells, its port sets, and the prefixes
//! that only it tells apart. So rows are closed, hungriest first, until the rest fits; the rest is
//! exact. What fits alone may still not fit beside what it replaces: then a further stage
//! follows, from the state that the first has led to.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use enforcer_ebpf::contract::verdict::Direction;

use super::alloc::Writer;
use super::goal::{Goal, Wish, closed_directions};
use super::regions::{Family, flatten};
use super::shortage::{Full, Shortage, Table};
use super::state::{Plan, Unrepresented};
use super::transition::{Homeless, advance, empty};
use super::{Desired, State, Step};
use crate::model::PodId;
use crate::policy::{Row, RowId, Verdict};

/// The most stages of one plan; each but the first closes less than the one before.
const STAGES: usize = 4;

/// Rows to be closed, and which table was too small for each.
type Closed = BTreeMap<RowId, Table>;

/// A stage that can be carried out.
struct Stage {
    state: State,
    steps: Vec<Step>,
    outcome: Outcome,
}

/// What could not be represented after a stage.
#[derive(Default)]
struct Outcome {
    homeless: Homeless,
    closed: Closed,
    /// The trie that can't hold even the node's own addresses.
    lost: Option<Table>,
}

/// The plan for a goal that does not fit.
pub(super) fn squeeze(state: &mut State, desired: &Desired) -> Plan {
    let users = users(desired);
    let mut plan = Plan::default();
    let mut last: Option<Outcome> = None;
    let mut meanwhile: BTreeSet<(PodId, Direction)> = BTreeSet::new();
    for _ in 0..STAGES {
        let Some(stage) = fitting_stage(state, desired, &users) else { break };
        let badness = |outcome: &Outcome| (outcome.lost.is_some(), outcome.closed.len());
        if last.as_ref().is_some_and(|last| badness(&stage.outcome) >= badness(last)) {
            break;
        }
        *state = stage.state;
        plan.addresses_lost_meanwhile |= stage.outcome.lost.is_some();
        plan.steps.extend(stage.steps);
        let closed: BTreeSet<RowId> = stage.outcome.closed.keys().copied().collect();
        meanwhile.extend(closed_directions(desired, &closed));
        let done = badness(&stage.outcome) == (false, 0);
        last = Some(stage.outcome);
        if done {
            break;
        }
    }
    let outcome = last.unwrap_or_default();
    plan.unrepresented = state.homeless(desired, &outcome.homeless);
    report(state, desired, &outcome, &mut plan);
    let finally = closed_directions(desired, &outcome.closed.keys().copied().collect());
    plan.closed_meanwhile = meanwhile.difference(&finally).cloned().collect();
    plan
}

/// Closes as few rows as needed for the stage to fit.
fn fitting_stage(
    state: &State,
    desired: &Desired,
    users: &BTreeMap<RowId, usize>,
) -> Option<Stage> {
    let mut closed = Closed::new();
    loop {
        let full = match attempt(state, desired, &closed) {
            Ok(stage) => return Some(stage),
            Err(full) => full,
        };
        let ranking = ranking(desired, full.table, users, &closed);
        if ranking.is_empty() {
            // Nothing is left to be closed: the old addresses are in the way of the new ones.
            let mut stage = carry_out(state, desired, closed, empty).ok()?;
            stage.outcome.lost = Some(full.table);
            return Some(stage);
        }
        let with = |count: usize| {
            let mut more = closed.clone();
            more.extend(ranking.iter().take(count).map(|&row| (row, full.table)));
            more
        };
        let (mut low, mut high) = (1, ranking.len());
        while low < high {
            let middle = low.midpoint(high);
            match attempt(state, desired, &with(middle)) {
                Err(again) if again.table == full.table => low = middle + 1,
                _ => high = middle,
            }
        }
        closed = with(low);
    }
}

fn attempt(state: &State, desired: &Desired, closed: &Closed) -> Result<Stage, Full> {
    carry_out(state, desired, closed.clone(), advance)
}

fn carry_out(
    state: &State,
    desired: &Desired,
    closed: Closed,
    how: fn(&mut State, &Goal<'_>, &mut Writer) -> Result<Homeless, Full>,
) -> Result<Stage, Full> {
    let rows: BTreeSet<RowId> = closed.keys().copied().collect();
    let mut state = state.clone();
    let mut writer = Writer::new(state.epoch);
    let homeless = how(&mut state, &Goal { desired, closed: &rows }, &mut writer)?;
    state.epoch = writer.epoch;
    let outcome = Outcome { homeless, closed, lost: None };
    Ok(Stage { state, steps: writer.steps, outcome })
}

/// How many directions of interfaces each row judges.
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

/// The rows that may still be closed: those that need most of the table first, then those with
/// the fewest users.
fn ranking(
    desired: &Desired,
    table: Table,
    users: &BTreeMap<RowId, usize>,
    closed: &Closed,
) -> Vec<RowId> {
    let needs = needs(desired, table);
    let mut rows: Vec<RowId> =
        users.keys().copied().filter(|row| !closed.contains_key(row)).collect();
    let need = |row: RowId| needs.get(row).copied().unwrap_or(0);
    rows.sort_by_key(|&row| (std::cmp::Reverse(need(row)), users[&row], std::cmp::Reverse(row)));
    rows
}

/// By row: about how much of the table it needs, compared with the others.
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

/// Says what is closed or lost, and what would help.
fn report(state: &State, desired: &Desired, outcome: &Outcome, plan: &mut Plan) {
    if outcome.closed.is_empty() && outcome.lost.is_none() {
        return;
    }
    let mut unlimited = State::unlimited();
    let goal = Goal { desired, closed: &BTreeSet::new() };
    let measured = advance(&mut unlimited, &goal, &mut Writer::new(0)).is_ok();
    let shortage = |table: Table| {
        let (_, limit) = state.usage(table);
        let needed = if measured { unlimited.usage(table).0 } else { 0 };
        // What is enough by itself may not be so beside what it replaces.
        Shortage { table, limit, needed: needed.max(limit.saturating_add(1)) }
    };
    plan.addresses_lost = outcome.lost.map(shortage);
    for (&row, &table) in &outcome.closed {
        let shortage = shortage(table);
        let reason = shortage.to_string();
        for (pod, direction) in closed_directions(desired, &BTreeSet::from([row])) {
            let reason = reason.clone();
            plan.unrepresented.push(Unrepresented { pod, direction, shortage, reason });
        }
    }
}
