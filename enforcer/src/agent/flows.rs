//! Removal of dead flows.
//!
//! The programs do not depend on it: they recognise a dead entry by its age. But a look-up for room takes
//! longer than a free place, and only the sweep knows how many flows each pod has.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::sleep;

use super::flow_log::FlowLog;
use super::reconciler::Reconciler;
use super::shared::Shared;
use super::{audit, flow_watch};
use crate::kernel::{FlowSample, FlowUse};
use crate::observe::{FlowRecord, FlowReport};

/// The time between two sweeps while the tables have room, and while they may fill up before the next.
const INTERVALS: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(1)];

/// Removes dead flows periodically, and notes how full the tables are and what is in them.
pub(super) async fn keep(
    reconciler: &RefCell<Reconciler>,
    shared: &Shared,
    mut log: Option<FlowLog>,
) -> anyhow::Result<()> {
    let [seldom, often] = INTERVALS;
    let mut wait = seldom;
    let mut sample = FlowSample::default();
    loop {
        // A change of policy must not wait for the sweep.
        let (tables, now) = {
            let kernel = &mut reconciler.borrow_mut().kernel;
            (kernel.flows(), kernel.now())
        };
        let mut looks = sample;
        let sweep = move || (now.and_then(|now| tables.sweep(now, &mut looks)), looks);
        let swept = tokio::task::spawn_blocking(sweep).await;
        let (found, looked) = swept.context("the sweep of flows panicked")?;
        sample = looked;
        match found {
            Ok(found) => {
                let is_filling = found.iter().any(|it| it.used() > it.limit / 2);
                wait = if is_filling { often } else { seldom };
                shared.set_flows(reports(found));
                flow_watch::take(reconciler, shared, sample.finish()).await;
                audit::report(shared);
                if let Some(it) = log.take() {
                    log = Some(export(it, shared).await?);
                }
            }
            // The next sweep may succeed; until then new flows find less room.
            Err(error) => tracing::warn!("cannot remove dead flows from the tables: {error}"),
        }
        sleep(wait).await;
    }
}

/// Logs the flows that are new. A slow disk delays nothing but the next look.
async fn export(mut log: FlowLog, shared: &Shared) -> anyhow::Result<FlowLog> {
    let seen = shared.seen_flows();
    let news = seen.ledger().take_news();
    let record = |(key, record, new)| FlowRecord {
        node: Some(seen.node().to_owned()),
        connections: new,
        ..FlowRecord::new(&key, &record)
    };
    let flows: Vec<FlowRecord> = news.into_iter().map(record).collect();
    let write = move || {
        log.write(&flows);
        log
    };
    tokio::task::spawn_blocking(write).await.context("the log of flows panicked")
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
