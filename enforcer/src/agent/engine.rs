//! From the cluster's state to what the kernel does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use enforcer_ebpf::contract::counters::Counters;

use super::accounts::{Accounts, Settlement};
use super::homes::Homes;
use super::owners::{Owners, UnknownPod, podless};
use super::sandboxes::Sandboxes;
use super::{Attach, Options};
use crate::kernel::{
    DropReader, Hooks, Kernel, KernelError, Pins, Place, ProgramLog, SettledTable,
};
use crate::node::{Assignment, Snapshot, assign};
use crate::observe::TakenOver;
use enforcer_core::model::{Change, Cluster, PodId};
use enforcer_core::policy::compile;
use enforcer_core::tables::{Desired, Inherited, Interface, Owner, State, Step, Unrepresented};

/// What stops the engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The kernel's side failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// What [`Engine::reconcile`] did.
#[derive(Debug)]
pub struct Reconciled {
    /// How many writes it took.
    pub writes: usize,
    /// Pods that were not known before, and for how long their interfaces have been there.
    pub waited: Vec<(PodId, Duration)>,
    /// When time alone will change something, if it will.
    pub again: Option<Duration>,
}

/// The cluster's state, and what the kernel was told of it.
pub struct Engine {
    node_name: String,
    check_source: bool,
    unknown_pod: UnknownPod,
    uplinks: BTreeSet<String>,
    owners: Owners,
    pub(super) homes: Homes,
    pub(super) sandboxes: Sandboxes,
    pub(super) cluster: Cluster,
    pub(super) snapshot: Snapshot,
    pub(super) assignment: Assignment,
    pub(super) state: State,
    pub(super) unrepresented: Vec<Unrepresented>,
    pub(super) kernel: Kernel,
    pub(super) hooks: Hooks,
    /// What outlives the agent; `None`: nothing does.
    pub(super) pins: Option<Pins>,
    /// What an earlier agent has left, until the first state is enforced.
    inheritance: Option<Vec<Inherited>>,
    pub(super) taken_over: Option<TakenOver>,
    pub(super) accounts: Accounts,
    /// Where settlements are kept; `None`: they end with the agent.
    settled: Option<SettledTable>,
}

impl Engine {
    /// Loads the programs. What an earlier agent has left goes on as it is until the first
    /// [`Self::reconcile`].
    ///
    /// # Errors
    /// The kernel refuses the programs.
    pub fn new(options: &Options, pins: Option<Pins>) -> Result<Self, EngineError> {
        let Options { node_name, check_source, unknown_pod, uplinks, attach, settings, .. } =
            options;
        let kernel = match &pins {
            Some(pins) => Kernel::load_pinned(settings, pins)?,
            None => Kernel::load(settings)?,
        };
        let inherited = kernel.inherited()?;
        let kernel_left = kernel.is_resumed();
        let endpoints = inherited.iter().filter(|it| it.owner.is_some()).count() as u64;
        if kernel_left {
            tracing::info!(endpoints, "taking over from an earlier agent");
        }
        let hooks = pins.as_ref().map(Hooks::pinned).unwrap_or_default();
        let (settled, before) = match pins.as_ref().map(open_settled).transpose() {
            Ok(opened) => opened.unzip(),
            Err(error) => {
                tracing::warn!(
                    "sums over ended pods begin at zero, and end with the agent: {error}"
                );
                (None, None)
            }
        };
        Ok(Self {
            node_name: node_name.clone(),
            check_source: *check_source,
            unknown_pod: *unknown_pod,
            uplinks: uplinks.clone(),
            owners: Owners::default(),
            homes: Homes::default(),
            sandboxes: Sandboxes::new(node_name),
            cluster: Cluster::default(),
            snapshot: Snapshot::default(),
            assignment: Assignment::default(),
            state: State::resuming(settings.limits, &inherited),
            unrepresented: Vec::new(),
            kernel,
            hooks: if *attach == Attach::Clsact { hooks.without_tcx() } else { hooks },
            pins,
            taken_over: kernel_left.then_some(TakenOver { endpoints }),
            accounts: Accounts::resuming(&inherited, before.unwrap_or_default()),
            settled,
            inheritance: Some(inherited),
        })
    }

    /// Notes changes; [`Self::reconcile`] carries them out. Whether anything is different now.
    pub fn apply(&mut self, changes: Vec<Change>) -> bool {
        let (mut changed, now) = (false, Instant::now());
        for change in changes {
            let heard = match &change {
                Change::Pod(pod) => Some(pod.id.clone()),
                _ => None,
            };
            if let Change::PodGone(pod) = &change {
                self.homes.forget(pod);
            }
            let change = self.sandboxes.said(change, &self.cluster);
            if self.cluster.apply(change) {
                changed = true;
                // To be listed once more as it was is no news.
                if let Some(pod) = heard {
                    self.homes.heard_of(&pod, now);
                }
            }
        }
        changed
    }

    /// Notes the node's interfaces and addresses; [`Self::reconcile`] carries it out.
    pub fn see(&mut self, snapshot: Snapshot) {
        self.cluster.node_addresses.clone_from(&snapshot.node_addresses);
        self.snapshot = snapshot;
        self.look_for_sandboxes();
    }

    /// Takes the drop events' ring buffer.
    ///
    /// # Errors
    /// It was taken before.
    pub fn take_drops(&mut self) -> Result<DropReader, EngineError> {
        Ok(self.kernel.take_drops()?)
    }

    /// Takes the programs' log, if they were told to keep one.
    ///
    /// # Errors
    /// It was taken before.
    pub fn take_program_log(&mut self) -> Result<ProgramLog, EngineError> {
        Ok(self.kernel.take_log()?)
    }

    /// Brings the kernel to what the cluster's state asks for.
    ///
    /// # Errors
    /// A table can't be written: what the kernel holds is then not known.
    pub fn reconcile(&mut self) -> Result<Reconciled, EngineError> {
        let now = Instant::now();
        let inheritance = self.inheritance.take();
        if let Some(inherited) = &inheritance {
            self.owners.resume(inherited);
            self.homes.resume(inherited, &self.cluster, &self.snapshot, now);
        }
        self.assignment = assign(&self.snapshot, &self.cluster, &self.node_name);
        let pods = &self.cluster.pods;
        let is_terminating = |pod: &PodId| pods.get(pod).is_some_and(|it| it.terminating);
        let again = self.homes.hold_back(&self.snapshot, &mut self.assignment, is_terminating, now);
        let waited = self.owners.remember(&self.snapshot, &self.assignment, now);
        let desired = self.desired();
        let plan = self.state.plan(&desired);
        for step in &plan.steps {
            if let Step::Owner { id, owner, .. } = step {
                let kernel = &self.kernel;
                let counted = || super::observed::counters(kernel, *id);
                let settled = self.accounts.hand_over(*id, owner.as_ref(), counted);
                self.keep(settled);
            }
            self.kernel.apply(step)?;
        }
        let namespaces = &self.cluster.namespaces;
        let settled = self.accounts.close(|name| namespaces.contains_key(name));
        self.keep(settled);
        self.unrepresented = plan.unrepresented;
        match inheritance {
            Some(_) => self.take_over()?,
            None => self.attach(),
        }
        Ok(Reconciled { writes: plan.steps.len(), waited, again })
    }

    fn keep(&mut self, settlements: Vec<Settlement>) {
        let Some(table) = &mut self.settled else { return };
        for (namespace, counters) in settlements {
            if let Err(error) = table.write(&namespace, counters.as_ref()) {
                tracing::warn!(%namespace, "the next agent will count on from less: {error}");
            }
        }
    }

    fn desired(&self) -> Desired {
        let local: BTreeSet<PodId> = self.assignment.pods.values().cloned().collect();
        let pods = self.assignment.pods.iter().map(|(ifindex, id)| {
            let pod = self.cluster.pods.get(id);
            let addresses = pod.map(|pod| pod.addresses.clone()).unwrap_or_default();
            let uid = pod.map(|pod| pod.uid.clone()).unwrap_or_default();
            let (owner, check_source) = (Owner::Pod(id.clone()), self.check_source);
            (*ifindex, Interface { owner, uid, addresses, check_source })
        });
        let others = podless(&self.snapshot, &self.assignment).into_iter().map(|ifindex| {
            let last = self.owners.last(ifindex).or_else(|| self.homes.held(ifindex));
            let owner = match last {
                Some(pod) => Owner::Gone(pod.clone()),
                None => Owner::Unknown { closed: self.unknown_pod == UnknownPod::Deny },
            };
            let seen = self.snapshot.interfaces.get(&ifindex);
            let addresses = seen.map(|it| it.addresses.clone()).unwrap_or_default();
            (ifindex, Interface { owner, uid: String::new(), addresses, check_source: false })
        });
        Desired {
            interfaces: pods.chain(others).collect(),
            compiled: compile(&self.cluster, &local),
        }
    }

    /// Replaces the programs of an earlier agent, now that the tables are complete: each packet is
    /// judged by the old ones or by the new.
    fn take_over(&mut self) -> Result<(), EngineError> {
        self.attach();
        while self.kernel.next_stage()? {
            self.hooks.let_go();
            self.attach();
        }
        self.hooks.prune(&self.hook_places().into_keys().collect())?;
        if let Some(pins) = &self.pins {
            self.kernel.drop_other_tables(pins)?;
        }
        Ok(())
    }

    /// Every interface that leads to a pod has the programs, known or not: once it is known, its
    /// next packet is judged. So have those that lead off the node, and these first: what a pod's
    /// programs leave open is judged there.
    fn attach(&mut self) {
        let wanted = self.hook_places();
        let stale: Vec<u32> = self
            .hooks
            .interfaces()
            .filter(|(ifindex, place)| wanted.get(ifindex).is_none_or(|it| it.1 != *place))
            .map(|(ifindex, _)| ifindex)
            .collect();
        for ifindex in stale {
            self.hooks.detach(ifindex);
        }
        let mut missing: Vec<(u32, String, Place)> = wanted
            .into_iter()
            .filter(|(ifindex, _)| self.hooks.place(*ifindex).is_none())
            .map(|(ifindex, (name, place))| (ifindex, name, place))
            .collect();
        missing.sort_by_key(|(ifindex, _, place)| (*place == Place::Pod, *ifindex));
        for (ifindex, name, place) in missing {
            match self.hooks.attach(&mut self.kernel, ifindex, &name, place) {
                Ok(()) => tracing::debug!(interface = %name, ?place, "guarded"),
                // Most likely gone again; if not, the next look at the node tries again.
                Err(error) => tracing::warn!(interface = %name, ?place, "{error}"),
            }
        }
    }

    /// The interfaces that shall have programs.
    fn hook_places(&self) -> BTreeMap<u32, (String, Place)> {
        let Snapshot { interfaces, unaddressed, uplinks, .. } = &self.snapshot;
        let known =
            interfaces.iter().map(|(ifindex, it)| (*ifindex, (it.name.clone(), Place::Pod)));
        let nameless =
            unaddressed.iter().map(|(ifindex, name)| (*ifindex, (name.clone(), Place::Pod)));
        let chosen = |name: &String| self.uplinks.is_empty() || self.uplinks.contains(name);
        let uplinks = uplinks.iter().filter(|(_, name)| chosen(name));
        let uplinks = uplinks.map(|(ifindex, name)| (*ifindex, (name.clone(), Place::Uplink)));
        known.chain(nameless).chain(uplinks).collect()
    }

    /// Pods by address, and this node's pods by endpoint id, to name the ends of a packet.
    #[must_use]
    pub fn names(&self) -> (BTreeMap<IpAddr, PodId>, BTreeMap<u32, PodId>) {
        let peers = self.cluster.pods.values().filter(|pod| pod.is_peer());
        let addresses =
            peers.flat_map(|pod| pod.addresses.iter().map(|it| (*it, pod.id.clone()))).collect();
        let endpoints = self.state.endpoints();
        let endpoints =
            endpoints.filter_map(|(owner, it)| Some((it.id, owner.pod()?.clone()))).collect();
        (addresses, endpoints)
    }
}

type Settled = (SettledTable, BTreeMap<String, Counters>);

/// The table of what is settled, and what earlier agents have left in it.
fn open_settled(pins: &Pins) -> Result<Settled, KernelError> {
    let table = SettledTable::open(pins)?;
    let before = table.read()?;
    Ok((table, before))
}
