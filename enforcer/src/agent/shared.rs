//! The state that the agent's threads share: the reconciler's thread publishes, observers read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use enforcer_ebpf::contract::verdict::Reason;
use tokio::sync::watch;

use super::pod_addresses::SharedPodAddresses;
use super::reconciler::Reconciler;
use super::rejector::Rejections;
use super::seen_flows::SeenFlows;
use super::shared_counters::SharedCounters;
use super::snapshot::Snapshot;
use super::source::Observable;
use super::trace::Live;
use super::watchdog::Watchdog;
use crate::kube_events::EventCounts;
use crate::nri;
use crate::observe::{
    AskError, Asked, DriftReport, DropRecord, EndedDrop, EventReport, FlowReport, Flows,
    LiveQuestion, LogFilter, Metrics, Observed, PodMetrics, ProcessUse, RecentDrop, RecentDrops,
    Report, Rise, WatchReport,
};
use crate::source::kubernetes::{Kind, WatchState};
use enforcer_core::model::PodId;

/// The state for observers. Nothing here waits for a plan.
pub struct Shared {
    snapshot: watch::Sender<Arc<Snapshot>>,
    counters: SharedCounters,
    addresses: SharedPodAddresses,
    metrics: Metrics,
    log: LogFilter,
    watchdog: Watchdog,
    drops: Mutex<RecentDrops>,
    lost_marks: Mutex<Rise>,
    ready: AtomicBool,
    source_errors: Mutex<Vec<String>>,
    source: Observable,
    flows: Mutex<Vec<FlowReport>>,
    seen_flows: SeenFlows,
    drift: Mutex<DriftReport>,
    rejections: Rejections,
    nri_mode: nri::Mode,
    nri: Mutex<nri::State>,
    live: Live,
}

impl Shared {
    /// The state of a reconciler that has not enforced anything yet.
    #[must_use]
    pub(super) fn new(
        reconciler: &Reconciler,
        source: Observable,
        pod_metrics: PodMetrics,
        log: LogFilter,
        nri_mode: nri::Mode,
        live: Live,
    ) -> Arc<Self> {
        let nri = match nri_mode {
            nri::Mode::Off => nri::State::Off,
            _ => nri::State::Absent { why: "not tried yet".to_owned() },
        };
        Arc::new(Self {
            snapshot: watch::Sender::new(Arc::new(reconciler.publish())),
            counters: reconciler.counters.clone(),
            addresses: reconciler.addresses.clone(),
            metrics: Metrics::new(pod_metrics),
            log,
            watchdog: Watchdog::new(Instant::now()),
            drops: Mutex::new(RecentDrops::default()),
            lost_marks: Mutex::new(Rise::default()),
            ready: AtomicBool::new(false),
            source_errors: Mutex::new(Vec::new()),
            source,
            flows: Mutex::new(Vec::new()),
            seen_flows: SeenFlows::new(reconciler.node_name()),
            drift: Mutex::new(DriftReport::default()),
            rejections: Rejections::default(),
            nri_mode,
            nri: Mutex::new(nri),
            live,
        })
    }

    /// Publishes the reconciler's present state.
    pub(super) fn publish(&self, reconciler: &Reconciler) {
        self.snapshot.send_replace(Arc::new(reconciler.publish()));
    }

    /// The last published state.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// The pods by address.
    pub(super) fn addresses(&self) -> &SharedPodAddresses {
        &self.addresses
    }

    /// Notes that the first complete state is enforced (semantics C4).
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Notes the present errors of the source's files or objects.
    pub fn set_source_errors(&self, errors: Vec<String>) {
        *lock(&self.source_errors) = errors;
    }

    /// Notes that the main loop runs.
    pub(super) fn reset_watchdog(&self) {
        self.watchdog.reset(Instant::now());
    }

    /// Remembers a recent drop.
    pub(super) fn dropped(&self, drop: DropRecord) {
        lock(&self.drops).push(Instant::now(), drop);
    }

    /// Counts a drop if it repeats a known attempt. Returns whether it does.
    pub(super) fn repeats(&self, now: Instant, drop: &DropRecord) -> bool {
        lock(&self.drops).repeats(now, drop)
    }

    /// The attempts of more than one packet that have ended since the last call.
    pub(super) fn ended_drops(&self) -> Vec<EndedDrop> {
        lock(&self.drops).ended(Instant::now())
    }

    /// The counts of answers to denied packets.
    pub(super) fn rejections(&self) -> &Rejections {
        &self.rejections
    }

    /// The state of the connection to the container runtime.
    fn nri(&self) -> nri::State {
        lock(&self.nri).clone()
    }

    /// The way to ask the reconciler's thread.
    pub(super) fn live(&self) -> &Live {
        &self.live
    }

    /// What the flow tables and drops have shown.
    pub(super) fn seen_flows(&self) -> &SeenFlows {
        &self.seen_flows
    }

    /// Notes the results of the drift check.
    pub(super) fn set_drift(&self, drift: DriftReport) {
        *lock(&self.drift) = drift;
    }

    /// Notes how full the flow tables are.
    pub(super) fn set_flows(&self, flows: Vec<FlowReport>) {
        *lock(&self.flows) = flows;
    }
}

impl Observed for Shared {
    fn report(&self) -> Report {
        let snapshot = self.snapshot();
        let mut report = self.counters.complete(&snapshot);
        report.rejections = self.rejections.report(!snapshot.rejecting.is_empty());
        report.manifest_errors = lock(&self.source_errors).clone();
        report.flows.clone_from(&lock(&self.flows));
        report.drift.clone_from(&lock(&self.drift));
        report.nri.note(&self.nri());
        if let Some(watches) = &self.source.watches {
            let now = Instant::now();
            let states = watches.states();
            report.watches = states.iter().map(|(kind, state)| watch(*kind, state, now)).collect();
            report.node_problem = watches.node_problem();
        }
        report.process = ProcessUse::read();
        report.heartbeat_age = self.watchdog.age(Instant::now());
        report.drops = lock(&self.drops).list(Instant::now());
        let lost = report.packets(Reason::MarkLost);
        report.lost_marks = lock(&self.lost_marks).note(lost, Instant::now()).then_some(lost);
        report.events = self.source.events.as_ref().map(|it| events(it));
        report
    }

    fn drops(&self, after: u64) -> Vec<RecentDrop> {
        lock(&self.drops).since(Instant::now(), after)
    }

    fn flows(&self, after: u64) -> Flows {
        self.seen_flows.document(after)
    }

    async fn ask(&self, asked: Asked, question: LiveQuestion) -> Result<String, AskError> {
        self.live.ask(asked, question).await
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn log(&self) -> &LogFilter {
        &self.log
    }

    fn healthy(&self) -> Result<(), String> {
        self.watchdog.check(Instant::now())
    }

    fn ready(&self) -> Result<(), String> {
        if !self.ready.load(Ordering::Acquire) {
            let missing = self.source.watches.as_ref().and_then(|it| it.missing());
            return Err(missing.unwrap_or_else(|| {
                "the first complete state of a source is still missing".to_owned()
            }));
        }
        if let Some(first) = self.snapshot().report.unguarded.first() {
            return Err(format!("interface {} is not guarded: {}", first.interface, first.why));
        }
        match self.nri() {
            nri::State::Absent { why } | nri::State::Refused { why }
                if self.nri_mode == nri::Mode::Required =>
            {
                Err(format!("--nri required: {why}"))
            }
            _ => Ok(()),
        }
    }
}

impl nri::Observer for Shared {
    fn state(&self, state: nri::State) {
        *lock(&self.nri) = state;
    }

    fn started(&self, pod: &PodId, outcome: nri::Outcome, took: Duration) {
        self.metrics.pod_started(outcome, took);
        let name = outcome.name();
        match outcome {
            nri::Outcome::TimedOut | nri::Outcome::NotLocated => {
                tracing::warn!(%pod, ?took, "the pod starts before it is programmed: {name}");
            }
            _ => tracing::info!(%pod, ?took, "the pod may start: {name}"),
        }
    }
}

/// Locks a mutex. A panic elsewhere does not make its data unusable: they are consistent between any
/// two writes.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn events(counts: &EventCounts) -> EventReport {
    let now = |count: &AtomicU64| count.load(Ordering::Relaxed);
    EventReport {
        posted: now(&counts.posted),
        existing: now(&counts.existing),
        failed: now(&counts.failed),
        put_off: now(&counts.put_off),
    }
}

fn watch(kind: Kind, state: &WatchState, now: Instant) -> WatchReport {
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    WatchReport {
        kind: kind.resource().to_owned(),
        state: state.phase.name().to_owned(),
        silent_seconds: state.received_at.map(|it| now.saturating_duration_since(it).as_secs()),
        objects: number(state.objects),
        bad_objects: number(state.bad),
        lists: state.lists,
        errors: state.errors,
        failing: state.failing.clone(),
    }
}
