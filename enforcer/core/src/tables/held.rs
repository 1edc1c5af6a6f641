//! What stays closed because a table was too small for it (semantics R9).

use std::collections::{BTreeMap, BTreeSet};

use enforcer_ebpf::contract::verdict::Direction;

use super::desired::Desired;
use super::goal::{Closed, closed_directions, judged};
use super::ranking::Demand;
use super::shortage::Table;
use crate::model::PodId;
use crate::policy::RowId;

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
