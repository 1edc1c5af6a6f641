//! The snapshot of the reconciler that metrics and status read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use enforcer_ebpf::contract::counters::{Counters, NOBODY};
use enforcer_ebpf::contract::endpoint::{Endpoint as Record, flags};
use enforcer_ebpf::contract::verdict::{Direction, Reason};

use super::guard::Unguarded;
use super::reconciler::{Reconciler, counters};
use super::source::Observable;
use super::watchdog::Watchdog;
use crate::kube_events::EventCounts;
use crate::nri;
use crate::observe::{
    DropRecord, Endpoint, EventReport, FlowReport, Interface, Isolation, LogFilter, Metrics,
    NriReport, Observed, PodMetrics, ProcessUse, RecentDrop, RecentDrops, Report, Rise, TableUse,
    UnguardedReport, WatchReport,
};
use crate::source::kubernetes::{Kind, WatchState};
use enforcer_core::model::PodId;
use enforcer_core::tables::{Owner, Table};

/// The reconciler, shared between the main loop and the observers.
pub struct SharedReconciler {
    reconciler: Mutex<Reconciler>,
    metrics: Metrics,
    log: LogFilter,
    watchdog: Watchdog,
    drops: Mutex<RecentDrops>,
    lost_marks: Mutex<Rise>,
    ready: AtomicBool,
    source_errors: Mutex<Vec<String>>,
    /// A copy, because readiness must not wait for the reconciler.
    unguarded: Mutex<Vec<Unguarded>>,
    source: Observable,
    flows: Mutex<Vec<FlowReport>>,
    nri_mode: nri::Mode,
    nri: Mutex<nri::State>,
}

impl SharedReconciler {
    /// Shares a reconciler that has not enforced anything yet.
    #[must_use]
    pub fn new(
        reconciler: Reconciler,
        source: Observable,
        pod_metrics: PodMetrics,
        log: LogFilter,
        nri_mode: nri::Mode,
    ) -> Arc<Self> {
        let nri = match nri_mode {
            nri::Mode::Off => nri::State::Off,
            _ => nri::State::Absent { why: "not tried yet".to_owned() },
        };
        Arc::new(Self {
            reconciler: Mutex::new(reconciler),
            metrics: Metrics::new(pod_metrics),
            log,
            watchdog: Watchdog::new(Instant::now()),
            drops: Mutex::new(RecentDrops::default()),
            lost_marks: Mutex::new(Rise::default()),
            ready: AtomicBool::new(false),
            source_errors: Mutex::new(Vec::new()),
            unguarded: Mutex::new(Vec::new()),
            source,
            flows: Mutex::new(Vec::new()),
            nri_mode,
            nri: Mutex::new(nri),
        })
    }

    /// The reconciler.
    pub fn lock(&self) -> MutexGuard<'_, Reconciler> {
        lock(&self.reconciler)
    }

    /// Notes that the first complete state is enforced (semantics C4).
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Notes the present errors of the source's files or objects.
    pub fn set_source_errors(&self, errors: Vec<String>) {
        *lock(&self.source_errors) = errors;
    }

    /// Notes the interfaces at which packets may pass unchecked (semantics C7).
    pub(super) fn set_unguarded(&self, unguarded: Vec<Unguarded>) {
        *lock(&self.unguarded) = unguarded;
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

    /// The state of the connection to the container runtime.
    fn nri(&self) -> nri::State {
        lock(&self.nri).clone()
    }

    /// Notes how full the flow tables are.
    pub(super) fn set_flows(&self, flows: Vec<FlowReport>) {
        *lock(&self.flows) = flows;
    }
}

impl Observed for SharedReconciler {
    fn report(&self) -> Report {
        let mut report = self.lock().report();
        report.manifest_errors = lock(&self.source_errors).clone();
        report.flows.clone_from(&lock(&self.flows));
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

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn log(&self) -> &LogFilter {
        &self.log
    }

    /// Does not lock the reconciler: a task that holds it for too long stops the main loop.
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
        if let Some(first) = lock(&self.unguarded).first() {
            return Err(format!("interface {} is not guarded: {}", first.name, first.why));
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

impl nri::Observer for SharedReconciler {
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

impl Reconciler {
    /// The present state; counters are read from the kernel.
    fn report(&self) -> Report {
        let interface = |ifindex: u32| {
            let known = self.snapshot.veth(ifindex);
            Interface {
                ifindex,
                name: known.map(|it| it.name.clone()).unwrap_or_default(),
                addresses: known.map(|it| it.addresses.clone()).unwrap_or_default(),
            }
        };
        let ambiguous = self.assignment.ambiguous.iter();
        let ids = self.retired.ids().chain(self.state.endpoints().map(|(_, it)| it.id));
        let counted = ids.map(|id| (id, counters(&self.kernel, id))).collect();
        Report {
            endpoints: self
                .state
                .endpoints()
                .filter_map(|(owner, record)| match owner {
                    Owner::Pod(pod) => {
                        Some(endpoint(pod, record, interface(record.ifindex), &counted))
                    }
                    Owner::Gone(_) | Owner::Unknown { .. } => None,
                })
                .collect(),
            podless: self.podless_counters(&counted),
            namespaces_total: self.retired.sums(&counted),
            unknown: self.assignment.unknown.iter().map(|it| interface(*it)).collect(),
            ambiguous: ambiguous.map(|(it, pods)| (interface(*it), pods.clone())).collect(),
            unrepresented: self
                .unrepresented
                .iter()
                .map(|it| (it.pod.clone(), format!("{}: {}", it.direction.name(), it.reason)))
                .collect(),
            unplaced: self.unplaced.iter().map(|it| interface(*it)).collect(),
            unguarded: self.unguarded().into_iter().map(|it| self.unguarded_report(it)).collect(),
            hooks_restored: self.guard.restored(),
            tables: Table::ALL.into_iter().map(|table| self.table_use(table)).collect(),
            conntrack: self.older.report.clone(),
            protection: self.protection(),
            lost_events: self.kernel.lost_events().unwrap_or_default(),
            policies: self.cluster.policies.len() as u64,
            pods: self.cluster.pods.len() as u64,
            namespaces: self.cluster.namespaces.len() as u64,
            cni: self.records_report(),
            denies_unknown: self.denies_unknown(),
            nri: NriReport { sandboxes: self.sandboxes.count() as u64, ..NriReport::default() },
            outlives_agent: self.pins.is_some() && self.pins_problem.is_none(),
            pins_problem: self.pins_problem.clone(),
            taken_over: self.taken_over,
            ..Report::default()
        }
    }

    /// The sum over the interfaces without a known pod, or without programs.
    fn podless_counters(&self, counted: &Counted) -> Counters {
        let podless = self.state.endpoints().filter(|(it, _)| !matches!(it, Owner::Pod(_)));
        let ids = podless.map(|(_, record)| record.id).chain([NOBODY]);
        let counted = ids.filter_map(|id| counted.get(&id));
        counted.fold(Counters::default(), Counters::plus)
    }

    fn unguarded_report(&self, it: Unguarded) -> UnguardedReport {
        let Unguarded { ifindex, name, why } = it;
        let pod = self.assignment.pods.get(&ifindex).cloned();
        UnguardedReport { interface: name, pod, why }
    }

    fn table_use(&self, table: Table) -> TableUse {
        let (used, limit) = self.state.usage(table);
        TableUse { table: table.name().to_owned(), used: used.into(), limit: limit.into() }
    }
}

/// Counters by endpoint id.
type Counted = BTreeMap<u32, Counters>;

fn endpoint(pod: &PodId, record: &Record, interface: Interface, counted: &Counted) -> Endpoint {
    Endpoint {
        pod: pod.clone(),
        interface,
        ingress: isolation(record.flags, Direction::Ingress),
        egress: isolation(record.flags, Direction::Egress),
        counters: counted.get(&record.id).copied().unwrap_or_default(),
    }
}

fn isolation(bits: u32, direction: Direction) -> Isolation {
    let (isolated, closed) = match direction {
        Direction::Ingress => (flags::INGRESS_ISOLATED, flags::INGRESS_CLOSED),
        Direction::Egress => (flags::EGRESS_ISOLATED, flags::EGRESS_CLOSED),
    };
    if bits & closed != 0 {
        Isolation::Closed
    } else if bits & isolated != 0 {
        Isolation::Isolated
    } else {
        Isolation::NotIsolated
    }
}
