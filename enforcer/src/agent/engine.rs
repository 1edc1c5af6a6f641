//! From the cluster's state to what the kernel does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::kernel::{DropReader, Hooks, Kernel, KernelError, ProgramLog, Settings};
use crate::model::{Change, Cluster, PodId};
use crate::node::{Assignment, Snapshot, assign};
use crate::policy::compile;
use crate::tables::{Desired, Interface, State, Unrepresented};

/// What stops the engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The kernel's side failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// The cluster's state, and what the kernel was told of it.
pub struct Engine {
    node_name: String,
    check_source: bool,
    pub(super) cluster: Cluster,
    pub(super) snapshot: Snapshot,
    pub(super) assignment: Assignment,
    pub(super) state: State,
    pub(super) unrepresented: Vec<Unrepresented>,
    pub(super) kernel: Kernel,
    hooks: Hooks,
}

impl Engine {
    /// Loads the programs for the node `node_name`; nothing is enforced yet.
    ///
    /// # Errors
    /// The kernel refuses the programs.
    pub fn new(
        node_name: String,
        check_source: bool,
        settings: &Settings,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            node_name,
            check_source,
            cluster: Cluster::default(),
            snapshot: Snapshot::default(),
            assignment: Assignment::default(),
            state: State::new(settings.limits),
            unrepresented: Vec::new(),
            kernel: Kernel::load(settings)?,
            hooks: Hooks::default(),
        })
    }

    /// Notes changes; [`Self::reconcile`] carries them out.
    pub fn apply(&mut self, changes: Vec<Change>) -> bool {
        let mut changed = false;
        for change in changes {
            changed |= self.cluster.apply(change);
        }
        changed
    }

    /// Notes the node's interfaces and addresses; [`Self::reconcile`] carries it out.
    pub fn see(&mut self, snapshot: Snapshot) {
        self.cluster.node_addresses.clone_from(&snapshot.node_addresses);
        self.snapshot = snapshot;
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

    /// Brings the kernel to what the cluster's state asks for; returns how many writes it took.
    ///
    /// # Errors
    /// A table can't be written: what the kernel holds is then not known.
    pub fn reconcile(&mut self) -> Result<usize, EngineError> {
        self.assignment = assign(&self.snapshot, &self.cluster, &self.node_name);
        let desired = self.desired();
        let plan = self.state.plan(&desired);
        for step in &plan.steps {
            self.kernel.apply(step)?;
        }
        self.unrepresented = plan.unrepresented;
        self.attach();
        Ok(plan.steps.len())
    }

    fn desired(&self) -> Desired {
        let local: BTreeSet<PodId> = self.assignment.pods.values().cloned().collect();
        let interface = |(ifindex, id): (&u32, &PodId)| {
            let addresses = self.cluster.pods.get(id)?.addresses.clone();
            let check_source = self.check_source;
            Some((*ifindex, Interface { pod: id.clone(), addresses, check_source }))
        };
        Desired {
            compiled: compile(&self.cluster, &local),
            interfaces: self.assignment.pods.iter().filter_map(interface).collect(),
        }
    }

    /// Every interface that leads to a pod has the programs, known or not: once it is known, its
    /// next packet is judged.
    fn attach(&mut self) {
        let known = self.snapshot.interfaces.iter().map(|(ifindex, it)| (*ifindex, &it.name));
        let nameless = self.snapshot.unaddressed.iter().map(|(ifindex, name)| (*ifindex, name));
        let present: BTreeMap<u32, &String> = known.chain(nameless).collect();
        let gone: Vec<u32> =
            self.hooks.interfaces().filter(|ifindex| !present.contains_key(ifindex)).collect();
        for ifindex in gone {
            self.hooks.detach(ifindex);
        }
        for (ifindex, name) in present {
            if self.hooks.contains(ifindex) {
                continue;
            }
            match self.hooks.attach(&mut self.kernel, ifindex, name) {
                Ok(()) => tracing::debug!(interface = %name, "guarded"),
                // Most likely gone again; if not, the next look at the node tries again.
                Err(error) => tracing::warn!(interface = %name, "{error}"),
            }
        }
    }

    /// Pods by address, and this node's pods by endpoint id, to name the ends of a packet.
    #[must_use]
    pub fn names(&self) -> (BTreeMap<IpAddr, PodId>, BTreeMap<u32, PodId>) {
        let peers = self.cluster.pods.values().filter(|pod| pod.is_peer());
        let addresses =
            peers.flat_map(|pod| pod.addresses.iter().map(|it| (*it, pod.id.clone()))).collect();
        let endpoints = self.state.endpoints().map(|(pod, it)| (it.id, pod.clone())).collect();
        (addresses, endpoints)
    }
}
