//! From what the kernel holds to what is desired: plans, and what they could not represent.
//!
//! A plan usually has one stage ([`super::transition`]). What does not fit beside what it replaces
//! takes further stages, each from the state to which the stage before has led.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_ebpf::contract::verdict::Direction;

use super::desired::{Desired, Interface};
use super::endpoints::SPARE;
use super::goal::{Goal, closed_directions};
use super::held::Held;
use super::shortage::{Shortage, Table};
use super::squeeze::{Outcome, fitting_stage};
use super::state::State;
use super::step::Step;
use super::transition::{Unplaced, advance};
use super::writer::Writer;
use crate::model::PodId;
use crate::policy::RowId;

/// The most stages of one plan. Each but the first represents more than the one before.
const STAGES: usize = 4;

/// A direction of a pod that is not represented because a table is too small (semantics R9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrepresented {
    /// The pod.
    pub pod: PodId,
    /// The direction. It is closed.
    pub direction: Direction,
    /// The table that is too small, and its required size.
    pub shortage: Shortage,
    /// The same as text.
    pub reason: String,
}

/// The way from one state to the next.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// The writes, in this order.
    pub steps: Vec<Step>,
    /// The directions that are not represented after the last step.
    pub unrepresented: Vec<Unrepresented>,
    /// Interfaces without an endpoint of their own, because there are more than fit: they are closed.
    pub unplaced: BTreeSet<u32>,
    /// Directions that are represented before and after the plan but closed in between, because
    /// the old and the new state don't fit into the tables together (semantics R9).
    pub closed_meanwhile: BTreeSet<(PodId, Direction)>,
    /// Whether the tries are empty in between, as with [`Self::addresses_lost`].
    pub addresses_lost_meanwhile: bool,
    /// Not even this node's own addresses fit into the tries. The tries are empty: no address is
    /// known as the node's (semantics A2), and all isolated directions are closed.
    pub addresses_lost: Option<Shortage>,
}

impl State {
    /// Returns the steps to `desired`. Afterwards `self` is the state to which they lead.
    ///
    /// Between any two steps each (interface, direction, address, protocol, port) has its verdict
    /// of before or of after (semantics C1), except for [`Plan::closed_meanwhile`].
    pub fn plan(&mut self, desired: &Desired) -> Plan {
        let mut plan = Plan::default();
        let mut last: Option<Outcome> = None;
        let mut meanwhile: BTreeSet<(PodId, Direction)> = BTreeSet::new();
        let held = self.held.closed(desired, |table| self.usage(table).1);
        for _ in 0..STAGES {
            let Some(stage) = fitting_stage(self, desired, held.clone()) else { break };
            let badness = |outcome: &Outcome| (outcome.lost.is_some(), outcome.closed.len());
            if last.as_ref().is_some_and(|last| badness(&stage.outcome) >= badness(last)) {
                break;
            }
            *self = stage.state;
            plan.addresses_lost_meanwhile |= stage.outcome.lost.is_some();
            plan.steps.extend(stage.steps);
            meanwhile.extend(closed_directions(desired, &stage.outcome.closed_rows()));
            let done = badness(&stage.outcome) == (false, held.len());
            last = Some(stage.outcome);
            if done {
                break;
            }
        }
        let outcome = last.unwrap_or_default();
        let before = std::mem::take(&mut self.held);
        self.held = Held::new(desired, &outcome.closed, before, &held);
        report_unplaced(self, &desired.interfaces, &outcome.unplaced, &mut plan);
        report_closed(self, desired, &outcome, &mut plan);
        let finally = closed_directions(desired, &outcome.closed_rows());
        plan.closed_meanwhile = meanwhile.difference(&finally).cloned().collect();
        plan
    }
}

/// Reports the interfaces that have no endpoint.
pub(super) fn report_unplaced(
    state: &State,
    interfaces: &BTreeMap<u32, Interface>,
    unplaced: &Unplaced,
    plan: &mut Plan,
) {
    let count = u32::try_from(interfaces.len()).unwrap_or(u32::MAX);
    for &(ifindex, table) in unplaced {
        plan.unplaced.insert(ifindex);
        let owner = interfaces.get(&ifindex).map(|interface| &interface.owner);
        let Some(pod) = owner.and_then(|owner| owner.pod()) else { continue };
        let needed = count + if table == Table::Endpoints { SPARE } else { 0 };
        let shortage = Shortage { table, limit: state.usage(table).1, needed };
        let reason = format!("interface {ifindex} has no endpoint of its own: {shortage}");
        for direction in Direction::ALL {
            let (pod, reason) = (pod.clone(), reason.clone());
            plan.unrepresented.push(Unrepresented { pod, direction, shortage, reason });
        }
    }
}

/// Reports the closed rows and lost addresses, and the table sizes that would avoid both.
fn report_closed(state: &mut State, desired: &Desired, outcome: &Outcome, plan: &mut Plan) {
    if outcome.closed.is_empty() && outcome.lost.is_none() {
        return;
    }
    let full: BTreeSet<Table> = outcome.closed.values().copied().chain(outcome.lost).collect();
    if full.iter().any(|table| !state.held.sizes.contains_key(table)) {
        let unlimited = unlimited(desired);
        for &table in &full {
            let needed = unlimited.as_ref().map_or(u32::MAX, |it| it.high_water(table));
            state.held.sizes.insert(table, needed);
        }
    }
    let shortage = |table: Table| {
        let (_, limit) = state.usage(table);
        let needed = state.held.sizes.get(&table).copied().unwrap_or_default();
        // What fits alone may still not fit beside what it replaces.
        Shortage { table, limit, needed: needed.max(limit.saturating_add(1)) }
    };
    plan.addresses_lost = outcome.lost.map(shortage);
    for (&row, &table) in &outcome.closed {
        let shortage = shortage(table);
        for (pod, direction) in closed_directions(desired, &BTreeSet::<RowId>::from([row])) {
            let reason = shortage.to_string();
            plan.unrepresented.push(Unrepresented { pod, direction, shortage, reason });
        }
    }
}

/// Tables without limits that hold everything; `None`: not even they can.
fn unlimited(desired: &Desired) -> Option<State> {
    let mut unlimited = State::unlimited();
    let goal = Goal { desired, closed: &BTreeSet::new() };
    advance(&mut unlimited, &goal, &mut Writer::new(0)).ok().map(|_| unlimited)
}
