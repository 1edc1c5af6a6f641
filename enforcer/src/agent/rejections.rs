//! The counts of answers to denied packets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::observe::RejectReport;

/// The counts of answers, which observers read.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    sent: AtomicU64,
    limited: AtomicU64,
    failed: AtomicU64,
    /// Why none can be sent at present.
    unavailable: Mutex<Option<String>>,
}

/// The result of a denied packet that is to be answered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rejected {
    Sent,
    /// There were too many.
    Limited,
    Failed,
}

impl Rejections {
    pub(super) fn count(&self, result: Rejected) {
        let counter = match result {
            Rejected::Sent => &self.sent,
            Rejected::Limited => &self.limited,
            Rejected::Failed => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes why none can be sent; `None`: they can.
    pub(super) fn set_unavailable(&self, why: Option<String>) {
        *self.unavailable.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    fn problem(&self) -> Option<String> {
        self.unavailable.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The counts. `wanted`: some pod's denied packets are to be answered.
    pub(super) fn report(&self, wanted: bool) -> RejectReport {
        let count = |it: &AtomicU64| it.load(Ordering::Relaxed);
        RejectReport {
            sent: count(&self.sent),
            limited: count(&self.limited),
            failed: count(&self.failed),
            problem: wanted.then(|| self.problem()).flatten(),
        }
    }
}
