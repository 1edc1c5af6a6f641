//! The reconciler: brings the kernel to the cluster's state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use enforcer_ebpf::contract::counters::Counters;

use super::claims::{Bindings, Known, World};
use super::drift::state::Drift;
use super::forgetting::Forgetting;
use super::guard::Guard;
use super::older_flows::OlderFlows;
use super::options::{Attach, Options, UnknownPod};
use super::pod_addresses::SharedPodAddresses;
use super::protection::Protection;
use super::records::Records;
use super::retired_counters::{RetiredCounters, Settlement};
use super::sandboxes::Sandboxes;
use super::seen_flows::alters_decisions;
use super::shared_counters::SharedCounters;
use super::trace::trials::Trials;
use crate::kernel::{
    DropReader, Hooks, Kernel, KernelError, Pins, Place, ProgramLog, SettledTable,
};
use crate::node::{Assignment, PodInterface, Snapshot};
use crate::observe::TakenOver;
use enforcer_core::model::{Change, Cluster, PodId};
use enforcer_core::policy::{Engine, Touched};
use enforcer_core::tables::{Inherited, Interface, Owner, State, Step, Unrepresented};

/// The result of [`Reconciler::reconcile`].
#[derive(Debug)]
pub struct Reconciled {
    /// The number of writes to the tables.
    pub writes: usize,
    /// Pods that are new behind their interfaces, and for how long these have waited.
    pub waited: Vec<(PodId, Duration)>,
    /// The time until the next reconciliation, if one is needed although nothing changes.
    pub again: Option<Duration>,
}

/// The cluster's state, and the part of it that the kernel has.
pub struct Reconciler {
    node_name: String,
    check_source: bool,
    pub(super) unknown_pod: UnknownPod,
    uplinks: BTreeSet<String>,
    pub(super) bindings: Bindings,
    pub(super) records: Records,
    pub(super) sandboxes: Sandboxes,
    pub(super) cluster: Cluster,
    /// The cluster's pods by address.
    pub(super) addresses: SharedPodAddresses,
    /// The policies of this node's pods.
    pub(super) protection: Protection,
    pub(super) snapshot: Snapshot,
    pub(super) assignment: Assignment,
    /// The policies' verdicts, and what has changed since they were last brought up to date.
    engine: Engine,
    touched: Touched,
    /// Whether a namespace was deleted, or an id got another owner, since counters were last retired.
    may_retire: bool,
    /// Whether no parts of earlier agents' programs are left.
    pub(super) has_only_own_parts: bool,
    /// Whether the tables have the present state of the cluster and of the node.
    is_enforced: bool,
    pub(super) drift: Drift,
    pub(super) state: State,
    pub(super) unrepresented: Vec<Unrepresented>,
    /// Interfaces beyond the tables' capacity, which are closed (semantics R9).
    pub(super) unplaced: BTreeSet<u32>,
    pub(super) kernel: Kernel,
    pub(super) hooks: Hooks,
    pub(super) older: OlderFlows,
    pub(super) guard: Guard,
    /// The state that outlives the agent; `None`: nothing does.
    pub(super) pins: Option<Pins>,
    /// Why pins that are gone can't be restored.
    pub(super) pins_problem: Option<String>,
    /// The records of an earlier agent, until the first state is enforced.
    pub(super) inheritance: Option<Vec<Inherited>>,
    pub(super) taken_over: Option<TakenOver>,
    pub(super) counters: SharedCounters,
    /// The store of settlements; `None`: they end with the agent.
    pub(super) settled: Option<SettledTable>,
    /// The number of changes after which the policies' decisions may be others.
    pub(super) decisions: u64,
    /// The number of times that tables were written.
    pub(super) generation: Arc<AtomicU64>,
    pub(super) trials: Arc<Trials>,
    /// The lowest bit of the programs' marks.
    pub(super) mark_shift: u32,
}

impl Reconciler {
    /// Loads the programs. The programs of an earlier agent stay active until the first
    /// [`Self::reconcile`].
    ///
    /// # Errors
    /// The kernel rejects the programs.
    pub fn new(options: &Options, pins: Option<Pins>) -> Result<Self, KernelError> {
        let Options {
            node_name,
            check_source,
            unknown_pod,
            audit,
            deny_with,
            uplinks,
            attach,
            settings,
            ..
        } = options;
        let mut kernel = match &pins {
            Some(pins) => Kernel::load_pinned(settings, pins)?,
            None => Kernel::load(settings)?,
        };
        let inherited = kernel.inherited()?;
        let is_resumed = kernel.is_resumed();
        let endpoints = inherited.iter().filter(|it| it.owner.is_some()).count() as u64;
        if is_resumed {
            tracing::info!(endpoints, "taking over from an earlier agent");
        }
        let hooks = pins.as_ref().map(Hooks::pinned).unwrap_or_default();
        let (settled, before) = match pins.as_ref().map(open_settled).transpose() {
            Ok(opened) => opened.unzip(),
            Err(error) => {
                tracing::warn!("counters of ended pods start at zero and are not kept: {error}");
                (None, None)
            }
        };
        let seed = kernel.take_trial_seed().unwrap_or_else(|error| {
            tracing::warn!("no packet can be tried: {error}");
            None
        });
        let retired = RetiredCounters::resuming(&inherited, before.unwrap_or_default());
        Ok(Self {
            counters: SharedCounters::new(kernel.counter_reader(), retired),
            addresses: SharedPodAddresses::default(),
            protection: Protection::default(),
            node_name: node_name.clone(),
            check_source: *check_source,
            unknown_pod: *unknown_pod,
            uplinks: uplinks.clone(),
            bindings: Bindings::default(),
            records: Records::default(),
            sandboxes: Sandboxes::new(node_name),
            cluster: Cluster { audit: *audit, deny_with: *deny_with, ..Cluster::default() },
            snapshot: Snapshot::default(),
            assignment: Assignment::default(),
            engine: Engine::with(settings.limits),
            touched: Touched::default(),
            may_retire: true,
            has_only_own_parts: false,
            is_enforced: false,
            drift: Drift::every(options.drift_interval),
            state: State::resuming(settings.limits, &inherited)
                .with_secrets(kernel.network_secrets()),
            unrepresented: Vec::new(),
            unplaced: BTreeSet::new(),
            kernel,
            older: OlderFlows::default(),
            hooks: if *attach == Attach::Clsact { hooks.without_tcx() } else { hooks },
            guard: Guard::default(),
            pins,
            pins_problem: None,
            taken_over: is_resumed.then_some(TakenOver { endpoints }),
            settled,
            decisions: 0,
            generation: Arc::default(),
            trials: Trials::new(seed),
            mark_shift: settings.mark_mask.trailing_zeros(),
            inheritance: Some(inherited),
        })
    }

    /// The name of this node.
    pub(super) fn node_name(&self) -> &str {
        &self.node_name
    }

    /// Notes changes; [`Self::reconcile`] enforces them. Returns whether the state has changed.
    pub fn apply(&mut self, changes: Vec<Change>) -> bool {
        let (mut changed, now) = (false, Instant::now());
        for change in changes {
            let reported = match &change {
                Change::Pod(pod) => Some(pod.id.clone()),
                _ => None,
            };
            if let Change::PodGone(pod) = &change {
                self.bindings.forget(pod);
            }
            let change = self.sandboxes.merge(change, &self.cluster);
            if self.change(change) {
                changed = true;
                // A list that shows the pod as before is no change to it.
                if let Some(pod) = reported {
                    self.bindings.changed(&pod, now);
                }
            }
        }
        changed
    }

    /// Whether the tables have the present state of the cluster and of the node.
    pub(super) fn is_enforced(&self) -> bool {
        self.is_enforced
    }

    /// Notes the node's interfaces and addresses; [`Self::reconcile`] enforces them. Returns whether
    /// there is a new interface.
    pub fn see(&mut self, snapshot: Snapshot) -> bool {
        self.is_enforced = false;
        let known = &self.snapshot;
        let is_new = |it: &PodInterface| {
            known.veth(it.ifindex).is_none_or(|known| known.identity != it.identity)
        };
        let mut uplinks = snapshot.uplinks.keys();
        let has_new = snapshot.veths().any(is_new)
            || uplinks.any(|ifindex| !known.uplinks.contains_key(ifindex));
        self.cluster.node_addresses.clone_from(&snapshot.node_addresses);
        self.snapshot = snapshot;
        self.locate_sandboxes();
        has_new
    }

    /// Finds the addresses of sandboxes in the node's snapshot.
    pub(super) fn locate_sandboxes(&mut self) {
        let changes = self.sandboxes.seen(&self.snapshot);
        self.put(changes);
    }

    /// Applies changes that were merged with the sandboxes.
    pub(super) fn put(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            self.change(change);
        }
    }

    /// Applies a change to the cluster. Returns whether the cluster is different now.
    fn change(&mut self, mut change: Change) -> bool {
        // First: what is noted shares the memory, too.
        self.cluster.share(&mut change);
        self.addresses.note(&change, &self.cluster);
        self.touched.note(&change);
        self.may_retire |= matches!(change, Change::NamespaceGone(_));
        self.is_enforced = false;
        self.protection.note(&change);
        let alters = alters_decisions(&change, &self.cluster);
        let changed = self.cluster.apply(change);
        self.decisions += u64::from(alters && changed);
        changed
    }

    /// Takes the drop events' ring buffer.
    ///
    /// # Errors
    /// It was taken before.
    pub fn take_drops(&mut self) -> Result<DropReader, KernelError> {
        self.kernel.take_drops()
    }

    /// Takes the programs' log, if logging is on in their settings.
    ///
    /// # Errors
    /// It was taken before.
    pub fn take_program_log(&mut self) -> Result<ProgramLog, KernelError> {
        self.kernel.take_log()
    }

    /// Brings the kernel to the cluster's state.
    ///
    /// # Errors
    /// A table can't be written: the kernel's state is then not known.
    pub fn reconcile(&mut self) -> Result<Reconciled, KernelError> {
        let now = Instant::now();
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.older.ran(now);
        let inheritance = self.inheritance.take();
        if let Some(inherited) = &inheritance {
            // Before the engine is filled, which then uses the memory that becomes free.
            self.cluster.compact();
            self.bindings.resume(inherited, &self.snapshot, &self.cluster, now);
        }
        let sandboxes: Vec<_> = self.sandboxes.records().collect();
        let (cluster, node_name) = (&self.cluster, self.node_name.as_str());
        let addresses = self.addresses.read();
        let world = World { cluster, addresses: &addresses, sandboxes: &sandboxes, node_name };
        let Known { assignment, waited, again } =
            self.bindings.assign(&mut self.snapshot, world, now);
        drop(addresses);
        self.assignment = assignment;
        self.judge_records();
        let local: BTreeSet<PodId> = self.assignment.pods.values().cloned().collect();
        self.protection.update(&self.cluster, &local);
        let touched = std::mem::take(&mut self.touched);
        let delta = self.engine.update(&self.cluster, &touched, &local);
        let interfaces = self.interfaces();
        let plan = self.state.follow(&mut self.engine, &delta, &interfaces);
        let mut forgetting = Forgetting::default();
        for (at, step) in plan.steps.iter().enumerate() {
            if let Step::Owner { id, owner, .. } = step {
                self.may_retire = true;
                let counted = || self.counters.of(*id);
                let settlements = self.counters.retired().hand_over(*id, owner.as_ref(), counted);
                self.store(settlements);
            }
            match step {
                Step::ForgetEndpoint { .. } => {
                    let ids = forgetting.due(plan.steps.get(at..).unwrap_or_default());
                    self.kernel.forget_endpoints(&ids)?;
                }
                step => self.kernel.apply(step)?,
            }
        }
        // Observers wait while the counters are held, so most runs do not hold them.
        if std::mem::take(&mut self.may_retire) {
            let namespaces = &self.cluster.namespaces;
            let exists = |name: &str| namespaces.contains_key(name);
            let settlements = self.counters.retired().retire_namespaces(exists);
            self.store(settlements);
        }
        self.unrepresented = plan.unrepresented;
        self.unplaced = plan.unplaced;
        // All uplinks, also those that have no programs by the agent's options.
        let uplinks = self.snapshot.uplinks.keys().copied().collect();
        self.kernel.set_origins(&uplinks, self.denies_unknown())?;
        let is_behind = match inheritance {
            Some(_) => self.take_over().map(|()| false)?,
            None => self.attach_some(),
        };
        self.drop_other_parts();
        let now = Instant::now();
        self.older.ran(now);
        self.is_enforced = true;
        let again = again.into_iter().chain(self.older.again(now));
        let again = again.chain(is_behind.then_some(Duration::ZERO)).min();
        Ok(Reconciled { writes: plan.steps.len(), waited, again })
    }

    fn store(&mut self, settlements: Vec<Settlement>) {
        let Some(table) = &mut self.settled else { return };
        for (namespace, counters) in settlements {
            if let Err(error) = table.write(&namespace, counters.as_ref()) {
                tracing::warn!(%namespace, "cannot store the counters of ended pods: {error}");
            }
        }
    }

    /// The interfaces that lead to pods, known or not.
    fn interfaces(&self) -> BTreeMap<u32, Interface> {
        let pods = self.assignment.pods.iter().map(|(ifindex, id)| {
            let pod = self.cluster.pods.get(id);
            let addresses = pod.map(|pod| pod.addresses.to_set()).unwrap_or_default();
            let uid = pod.map(|pod| pod.uid.to_string()).unwrap_or_default();
            let (owner, check_source) = (Owner::Pod(id.clone()), self.check_source);
            let identity = self.bindings.identity(*ifindex);
            (*ifindex, Interface { owner, uid, identity, addresses, check_source })
        });
        let closed = self.denies_unknown();
        let others =
            self.bindings.podless(&self.assignment).into_iter().map(|ifindex| {
                (ifindex, self.bindings.without_pod(ifindex, closed, &self.snapshot))
            });
        pods.chain(others).collect()
    }

    /// The interfaces that need programs.
    pub(super) fn hook_places(&self) -> BTreeMap<u32, (String, Place)> {
        let pods = self.snapshot.veths().map(|it| (it.ifindex, (it.name.clone(), Place::Pod)));
        let chosen = |name: &String| self.uplinks.is_empty() || self.uplinks.contains(name);
        let uplinks = self.snapshot.uplinks.iter().filter(|(_, it)| chosen(&it.name));
        let uplinks = uplinks.map(|(ifindex, it)| {
            let place = if it.is_ethernet { Place::Uplink } else { Place::BareUplink };
            (*ifindex, (it.name.clone(), place))
        });
        pods.chain(uplinks).collect()
    }
}

type Settled = (SettledTable, BTreeMap<String, Counters>);

/// The store of settlements, and the records of earlier agents in it.
fn open_settled(pins: &Pins) -> Result<Settled, KernelError> {
    let table = SettledTable::open(pins)?;
    let before = table.read()?;
    Ok((table, before))
}
