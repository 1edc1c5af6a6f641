//! Dropped packets: one line for each attempt to connect, and its policies as far as time allows.

use std::time::Instant;

use super::snapshot::SharedReconciler;
use crate::observe::{Attribution, DropRecord, Observed as _};

/// Attempts that are attributed at one tick: each takes a look at every pod of the cluster.
const ATTRIBUTED: u32 = 20;

/// The log.
pub(super) struct DropLog<'a> {
    shared: &'a SharedReconciler,
    left: u32,
}

impl<'a> DropLog<'a> {
    pub(super) fn new(shared: &'a SharedReconciler) -> Self {
        Self { shared, left: ATTRIBUTED }
    }

    /// Begins a tick.
    pub(super) fn tick(&mut self) {
        self.left = ATTRIBUTED;
    }

    /// Takes a drop. Returns it if its policies are wanted: [`Self::attribute`] is the next step then.
    /// Others were counted, or logged without their policies.
    pub(super) fn take(&mut self, record: DropRecord) -> Option<DropRecord> {
        if self.shared.repeats(Instant::now(), &record) {
            return None;
        }
        let Some(left) = self.left.checked_sub(1) else {
            self.log(record);
            return None;
        };
        self.left = left;
        Some(record)
    }

    /// Logs a drop with its attribution.
    pub(super) fn attribute(&self, mut record: DropRecord, attribution: Attribution) {
        record.attribution = attribution;
        self.log(record);
    }

    fn log(&self, record: DropRecord) {
        if self.shared.log().is_json() {
            record.log_fields();
        } else {
            tracing::info!(target: "enforcer::drops", "{record}");
        }
        self.shared.metrics().denied(&record);
        self.shared.dropped(record);
    }
}
