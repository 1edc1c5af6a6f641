//! The engine, as metrics and status see it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use enforcer_ebpf::contract::counters::Counters;
use enforcer_ebpf::contract::endpoint::{Endpoint as Record, flags};
use enforcer_ebpf::contract::verdict::Direction;

use super::heart::Heart;
use super::{Engine, Observable};
use crate::announce::EventCounts;
use crate::kernel::Kernel;
use crate::nri;
use crate::observe::{
    DropRecord, Endpoint, EventReport, FlowReport, Interface, Isolation, LogFilter, Metrics,
    NriReport, Observed, PodMetrics, ProcessUse, RecentDrops, Report, TableUse, WatchReport,
};
use crate::source::kubernetes::{Kind, WatchState};
use enforcer_core::model::PodId;
use enforcer_core::tables::{Owner, Table};

/// The engine, shared between the loop that drives it and those who watch.
pub struct SharedEngine {
    engine: Mutex<Engine>,
    metrics: Metrics,
    log: LogFilter,
    heart: Heart,
    drops: Mutex<RecentDrops>,
    ready: AtomicBool,
    source_errors: Mutex<Vec<String>>,
    source: Observable,
    flows: Mutex<Vec<FlowReport>>,
    nri_mode: nri::Mode,
    nri: Mutex<nri::State>,
}

impl SharedEngine {
    /// Shares an engine that has not enforced anything yet.
    #[must_use]
    pub fn new(
        engine: Engine,
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
            engine: Mutex::new(engine),
            metrics: Metrics::new(pod_metrics),
            log,
            heart: Heart::new(Instant::now()),
            drops: Mutex::new(RecentDrops::default()),
            ready: AtomicBool::new(false),
            source_errors: Mutex::new(Vec::new()),
            source,
            flows: Mutex::new(Vec::new()),
            nri_mode,
            nri: Mutex::new(nri),
        })
    }

    /// The engine. A panic elsewhere does not make it unusable: its parts are consistent between
    /// any two writes.
    pub fn lock(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the first complete state is enforced (semantics C4).
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Notes what is wrong with the source's files or objects at present.
    pub fn set_source_errors(&self, errors: Vec<String>) {
        *self.source_errors.lock().unwrap_or_else(PoisonError::into_inner) = errors;
    }

    /// Notes that the loop that carries changes to the kernel has come round.
    pub(super) fn beat(&self) {
        self.heart.beat(Instant::now());
    }

    /// Remembers a drop for a while.
    pub(super) fn dropped(&self, drop: DropRecord) {
        let mut drops = self.drops.lock().unwrap_or_else(PoisonError::into_inner);
        drops.push(Instant::now(), drop);
    }

    /// How the connection to the container runtime is.
    fn nri(&self) -> nri::State {
        self.nri.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how full the flow tables are.
    pub(super) fn set_flows(&self, flows: Vec<FlowReport>) {
        *self.flows.lock().unwrap_or_else(PoisonError::into_inner) = flows;
    }
}

impl Observed for SharedEngine {
    fn report(&self) -> Report {
        let mut report = self.lock().report();
        report.manifest_errors =
            self.source_errors.lock().unwrap_or_else(PoisonError::into_inner).clone();
        report.flows.clone_from(&self.flows.lock().unwrap_or_else(PoisonError::into_inner));
        report.nri.note(&self.nri());
        if let Some(watches) = &self.source.watches {
            let now = Instant::now();
            let states = watches.states();
            report.watches = states.iter().map(|(kind, state)| watch(*kind, state, now)).collect();
            report.node_problem = watches.node_problem();
        }
        report.process = ProcessUse::read();
        report.heartbeat_age = self.heart.age(Instant::now());
        let drops = self.drops.lock().unwrap_or_else(PoisonError::into_inner);
        report.drops = drops.list(Instant::now());
        drop(drops);
        report.events = self.source.events.as_ref().map(|it| events(it));
        report
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn log(&self) -> &LogFilter {
        &self.log
    }

    /// The engine is not asked: whoever holds it for too long keeps the loop from coming round.
    fn healthy(&self) -> Result<(), String> {
        self.heart.check(Instant::now())
    }

    fn ready(&self) -> Result<(), String> {
        if !self.ready.load(Ordering::Acquire) {
            let missing = self.source.watches.as_ref().and_then(|it| it.missing());
            return Err(missing.unwrap_or_else(|| {
                "not every source has shown its first complete state yet".to_owned()
            }));
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

impl nri::Observer for SharedEngine {
    fn state(&self, state: nri::State) {
        *self.nri.lock().unwrap_or_else(PoisonError::into_inner) = state;
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
        silent_seconds: state.heard.map(|heard| now.saturating_duration_since(heard).as_secs()),
        objects: number(state.objects),
        bad_objects: number(state.bad),
        lists: state.lists,
        errors: state.errors,
        failing: state.failing.clone(),
    }
}

impl Engine {
    /// The present state; counters are read from the kernel.
    fn report(&self) -> Report {
        let interface = |ifindex: u32| {
            let known = self.snapshot.interfaces.get(&ifindex);
            Interface {
                ifindex,
                name: known.map(|it| it.name.clone()).unwrap_or_default(),
                addresses: known.map(|it| it.addresses.clone()).unwrap_or_default(),
            }
        };
        let ambiguous = self.assignment.ambiguous.iter();
        let ids = self.accounts.ids().chain(self.state.endpoints().map(|(_, it)| it.id));
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
            namespaces_total: self.accounts.sums(&counted),
            unknown: self.assignment.unknown.iter().map(|it| interface(*it)).collect(),
            ambiguous: ambiguous.map(|(it, pods)| (interface(*it), pods.clone())).collect(),
            unrepresented: self
                .unrepresented
                .iter()
                .map(|it| (it.pod.clone(), format!("{}: {}", it.direction.name(), it.reason)))
                .collect(),
            tables: Table::ALL.into_iter().map(|table| self.table_use(table)).collect(),
            lost_events: self.kernel.lost_events().unwrap_or_default(),
            policies: self.cluster.policies.len() as u64,
            pods: self.cluster.pods.len() as u64,
            namespaces: self.cluster.namespaces.len() as u64,
            manifest_errors: Vec::new(),
            flows: Vec::new(),
            nri: NriReport { sandboxes: self.sandboxes.count() as u64, ..NriReport::default() },
            watches: Vec::new(),
            node_problem: None,
            events: None,
            outlives_agent: self.pins.is_some(),
            taken_over: self.taken_over,
            process: None,
            heartbeat_age: Duration::ZERO,
            drops: Vec::new(),
        }
    }

    /// What interfaces without a known pod have counted, all together.
    fn podless_counters(&self, counted: &Counted) -> Counters {
        let podless = self.state.endpoints().filter(|(it, _)| !matches!(it, Owner::Pod(_)));
        let counted = podless.filter_map(|(_, record)| counted.get(&record.id));
        counted.fold(Counters::default(), Counters::plus)
    }

    fn table_use(&self, table: Table) -> TableUse {
        let (used, limit) = self.state.usage(table);
        TableUse { table: table.name().to_owned(), used: used.into(), limit: limit.into() }
    }
}

/// Counters by endpoint id.
type Counted = BTreeMap<u32, Counters>;

/// What an endpoint id has counted; if that can't be read, nothing.
pub(super) fn counters(kernel: &Kernel, id: u32) -> Counters {
    kernel.counters(id).unwrap_or_else(|error| {
        tracing::warn!(endpoint = id, "{error}");
        Counters::default()
    })
}

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
