//! Dropped packets: one line for each attempt to connect, and its policies as far as time allows.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::reconciler::Reconciler;
use super::shared::Shared;
use crate::observe::{Attribution, DropRecord, Observed as _};
use enforcer_core::explain;

/// Drops that may wait for the reconciler's thread, which alone has the cluster.
pub(super) const WAITING: usize = 256;

/// A budget of attributions, so that a flood of drops delays no change.
const ATTRIBUTED: u32 = 20;
const WINDOW: Duration = Duration::from_millis(100);

/// Attributes drops to policies and logs them, in the reconciler's thread.
pub(super) async fn keep(
    reconciler: &RefCell<Reconciler>,
    shared: &Shared,
    mut drops: mpsc::Receiver<DropRecord>,
) -> anyhow::Result<()> {
    let (mut left, mut since) = (ATTRIBUTED, Instant::now());
    while let Some(mut record) = drops.recv().await {
        let now = Instant::now();
        if now.saturating_duration_since(since) >= WINDOW {
            (left, since) = (ATTRIBUTED, now);
        }
        if shared.repeats(now, &record) {
            continue;
        }
        if left > 0 {
            left -= 1;
            record.attribution = reconciler.borrow().attribute(&record);
        }
        log(shared, record);
    }
    std::future::pending().await
}

/// Logs a drop without its policies: the reconciler's thread is busy.
pub(super) fn unattributed(shared: &Shared, record: DropRecord) {
    if !shared.repeats(Instant::now(), &record) {
        log(shared, record);
    }
}

fn log(shared: &Shared, record: DropRecord) {
    if shared.log().is_json() {
        record.log_fields();
    } else {
        tracing::info!(target: "enforcer::drops", "{record}");
    }
    shared.metrics().denied(&record);
    shared.dropped(record);
}

impl Reconciler {
    /// The policies behind a drop.
    fn attribute(&self, record: &DropRecord) -> Attribution {
        let addresses = self.addresses.read();
        Attribution::of(record, &self.cluster, |address| {
            explain::owners_among(addresses.pods(&address, &self.cluster))
        })
    }
}
