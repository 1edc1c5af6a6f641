//! Removal of dead flows.
//!
//! The programs do not depend on it: they recognise a dead entry by its age. But a look-up for room takes
//! longer than a free place, and only the sweep knows how many flows each pod has.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::sleep;

use super::reconciler::Reconciler;
use super::shared::Shared;
use crate::kernel::FlowUse;
use crate::observe::FlowReport;

/// The time between two sweeps while the tables have room, and while they may fill up before the next.
const INTERVALS: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(1)];

/// Removes dead flows periodically, and notes how full the tables are.
pub(super) async fn keep(reconciler: &RefCell<Reconciler>, shared: &Shared) -> anyhow::Result<()> {
    let [seldom, often] = INTERVALS;
    let mut wait = seldom;
    loop {
        // A change of policy must not wait for the sweep.
        let (tables, now) = {
            let kernel = &mut reconciler.borrow_mut().kernel;
            (kernel.flows(), kernel.now())
        };
        let sweep = move || tables.sweep(now?);
        match tokio::task::spawn_blocking(sweep).await.context("the sweep of flows panicked")? {
            Ok(found) => {
                let is_filling = found.iter().any(|it| it.used() > it.limit / 2);
                wait = if is_filling { often } else { seldom };
                shared.set_flows(reports(found));
            }
            // The next sweep may succeed; until then new flows find less room.
            Err(error) => tracing::warn!("cannot remove dead flows from the tables: {error}"),
        }
        sleep(wait).await;
    }
}

fn reports(found: [FlowUse; 2]) -> Vec<FlowReport> {
    let report = |(family, found): (&str, FlowUse)| FlowReport {
        family: family.to_owned(),
        established: found.established,
        opening: found.opening,
        limit: found.limit,
        refused: found.refused,
        displaced: found.displaced,
        reduced: found.reduced,
        over_share: found.over_share,
    };
    ["ipv4", "ipv6"].into_iter().zip(found).map(report).collect()
}
