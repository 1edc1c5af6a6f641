//! Counters that the reconciler's thread settles and observers read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use enforcer_ebpf::contract::counters::{Counters, NOBODY};

use super::retired_counters::RetiredCounters;
use super::snapshot::Snapshot;
use crate::kernel::CounterReader;
use crate::observe::Report;

/// The kernel's counters, and what was settled of them.
#[derive(Clone)]
pub(super) struct SharedCounters {
    reader: Arc<CounterReader>,
    retired: Arc<Mutex<RetiredCounters>>,
    /// The highest id that was ever reported.
    highest: Arc<AtomicU32>,
}

impl SharedCounters {
    pub(super) fn new(reader: Arc<CounterReader>, retired: RetiredCounters) -> Self {
        Self { reader, retired: Arc::new(Mutex::new(retired)), highest: Arc::default() }
    }

    /// The settled counters. Observers hold them while they read the counters, the reconciler for one
    /// hand-over: no reader sees an id in two namespaces or in none.
    pub(super) fn retired(&self) -> MutexGuard<'_, RetiredCounters> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counters of an endpoint id; zero if they can't be read.
    pub(super) fn of(&self, id: u32) -> Counters {
        self.reader.counters(id).unwrap_or_else(|error| {
            tracing::warn!(endpoint = id, "{error}");
            Counters::default()
        })
    }

    /// The report of a snapshot, with counters.
    pub(super) fn complete(&self, snapshot: &Snapshot) -> Report {
        let mut report = snapshot.report.clone();
        let retired = self.retired();
        let ids = retired.ids().chain(snapshot.ids.iter().copied());
        let counted: BTreeMap<u32, Counters> = ids.map(|id| (id, self.of(id))).collect();
        report.namespaces_total = retired.sums(&counted);
        drop(retired);
        let of = |id: &u32| counted.get(id).copied().unwrap_or_default();
        for (endpoint, id) in report.endpoints.iter_mut().zip(&snapshot.ids) {
            endpoint.counters = of(id);
        }
        let podless = snapshot.podless.iter().map(of);
        report.podless = podless.fold(Counters::default(), |sum, it| sum.plus(&it));
        let highest = counted.keys().next_back().copied().unwrap_or_default();
        report.lost_events = self.lost_events(highest);
        report
    }

    /// The lost events of all ids that ever were in use: the sum never falls. `highest`: the highest one now.
    fn lost_events(&self, highest: u32) -> u64 {
        let highest = self.highest.fetch_max(highest, Ordering::Relaxed).max(highest);
        (NOBODY..=highest).filter_map(|id| self.reader.lost_events(id).ok()).sum()
    }
}
