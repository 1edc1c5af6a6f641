//! Removal of dead flows.
//!
//! The programs do not depend on it: they recognise a dead entry by its age. But in the table of
//! established flows a dead entry occupies its place until the agent removes it.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{MissedTickBehavior, interval};

use super::reconciler::Reconciler;
use super::shared::Shared;
use crate::kernel::FlowUse;
use crate::observe::FlowReport;

/// The time between two sweeps.
const INTERVAL: Duration = Duration::from_secs(10);

/// Removes dead flows periodically, and notes how full the tables are.
pub(super) async fn keep(reconciler: &RefCell<Reconciler>, shared: &Shared) -> anyhow::Result<()> {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // A change of policy must not wait for the sweep.
        let (tables, now) = {
            let kernel = &mut reconciler.borrow_mut().kernel;
            (kernel.flows(), kernel.now())
        };
        let sweep = move || tables.sweep(now?);
        match tokio::task::spawn_blocking(sweep).await.context("the sweep of flows panicked")? {
            Ok(found) => shared.set_flows(reports(found)),
            // The next sweep may succeed; until then new flows find less room.
            Err(error) => tracing::warn!("cannot remove dead flows from the tables: {error}"),
        }
    }
}

fn reports(found: [FlowUse; 2]) -> Vec<FlowReport> {
    let report = |(family, found): (&str, FlowUse)| FlowReport {
        family: family.to_owned(),
        established: found.established.used,
        established_limit: found.established.limit,
        opening: found.opening.used,
        opening_limit: found.opening.limit,
        refused: found.refused,
        evicted: found.evicted,
    };
    ["ipv4", "ipv6"].into_iter().zip(found).map(report).collect()
}
