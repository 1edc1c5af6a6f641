//! Upkeep of the flow tables.
//!
//! The programs do without it: they know a dead entry by its age. But in the table of established
//! flows a dead entry keeps its place until somebody takes it out.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{MissedTickBehavior, interval};

use super::SharedReconciler;
use crate::kernel::FlowUse;
use crate::observe::FlowReport;

/// How often the tables are gone through.
const INTERVAL: Duration = Duration::from_secs(10);

/// Clears dead flows away now and then, and notes how full the tables are.
pub(super) async fn keep(shared: &SharedReconciler) -> anyhow::Result<()> {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Not with the reconciler locked: a change of policy must not wait for it.
        let (tables, now) = {
            let kernel = &mut shared.lock().kernel;
            (kernel.flows(), kernel.now())
        };
        let sweep = move || tables.sweep(now?);
        match tokio::task::spawn_blocking(sweep).await.context("the upkeep of flows ended")? {
            Ok(found) => shared.set_flows(reports(found)),
            // Next time, maybe; until then new flows find less room.
            Err(error) => tracing::warn!("the flow tables are not cleared of dead flows: {error}"),
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
