#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test's tools may fail loudly")]
//! The loaded programs, fed with packets of one's own (`BPF_PROG_TEST_RUN`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::OnceLock;

use anyhow::Context as _;
use enforcer::kernel::{Kernel, KernelError, Pins, RunInput, RunProgram, Settings};
use enforcer_core::model::{Cluster, PodId};
use enforcer_core::policy::compile;
use enforcer_core::tables::{Desired, Interface, Owner, State, Step};
use enforcer_ebpf::contract::counters::Count;
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use futures::TryStreamExt as _;
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::unistd::Pid;
use rtnetlink::LinkVeth;

/// Where forwarded packets come in by, as far as the programs can see.
pub const ELSEWHERE: u32 = 1;

/// Loaded programs with the tables of one cluster after another.
pub struct Rig {
    /// The programs.
    pub kernel: Kernel,
    state: State,
    /// Interface of each pod that is a subject.
    pub interfaces: BTreeMap<PodId, u32>,
}

/// What the programs did with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it passed.
    pub passes: bool,
    /// The mark afterwards.
    pub mark: u32,
}

/// How far a packet got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// It was dropped at its sender's interface.
    AtSender,
    /// It was dropped where it was to reach a pod or to leave the node.
    Later,
    /// It passed.
    Passed,
}

impl Rig {
    /// Loads the programs.
    ///
    /// # Errors
    /// They can't be loaded: not root, or no eBPF object.
    pub fn new() -> anyhow::Result<Self> {
        Self::with(&Settings::default())
    }

    /// The same, loaded in another way than the usual.
    ///
    /// # Errors
    /// The same.
    pub fn with(settings: &Settings) -> anyhow::Result<Self> {
        Self::load(settings, Kernel::load)
    }

    /// The same, with flows and ids in tables that the next one of the same folder finds.
    ///
    /// # Errors
    /// The same, or the tables can't be pinned.
    pub fn pinned(settings: &Settings, pins: &Pins) -> anyhow::Result<Self> {
        Self::load(settings, |settings| Kernel::load_pinned(settings, pins))
    }

    fn load(
        settings: &Settings,
        load: impl Fn(&Settings) -> Result<Kernel, KernelError>,
    ) -> anyhow::Result<Self> {
        // Asked once: loading takes long where the machine is emulated.
        static TEST_ORIGIN: OnceLock<bool> = OnceLock::new();
        let test_origin = TEST_ORIGIN.get().copied().unwrap_or_default();
        let mut kernel = load(&Settings { test_origin, ..*settings })?;
        if !test_origin && *TEST_ORIGIN.get_or_init(|| !takes_origin(&mut kernel)) {
            kernel = load(&Settings { test_origin: true, ..*settings })?;
        }
        Ok(Self { kernel, state: State::new(settings.limits), interfaces: BTreeMap::new() })
    }

    /// Programs the tables for pods at these interfaces; returns the writes.
    ///
    /// # Errors
    /// A table can't be written.
    pub fn program(
        &mut self,
        cluster: &Cluster,
        interfaces: BTreeMap<PodId, u32>,
    ) -> anyhow::Result<Vec<Step>> {
        let local = interfaces.keys().cloned().collect();
        let compiled = compile(cluster, &local);
        self.interfaces =
            interfaces.into_iter().filter(|(pod, _)| compiled.pods.contains_key(pod)).collect();
        let interface = |(pod, ifindex): (&PodId, &u32)| {
            let addresses = cluster.pods.get(pod).map(|it| it.addresses.clone());
            let addresses = addresses.unwrap_or_default();
            (
                *ifindex,
                Interface {
                    owner: Owner::Pod(pod.clone()),
                    uid: String::new(),
                    addresses,
                    check_source: true,
                },
            )
        };
        let interfaces = self.interfaces.iter().map(interface).collect();
        let plan = self.state.plan(&Desired { compiled, interfaces });
        anyhow::ensure!(plan.unrepresented.is_empty(), "{:?}", plan.unrepresented);
        for step in &plan.steps {
            self.kernel.apply(step)?;
        }
        Ok(plan.steps)
    }

    /// Lets a program judge a frame at a pod's interface.
    ///
    /// # Errors
    /// The kernel refuses the frame.
    pub fn judge(
        &mut self,
        pod: &PodId,
        direction: Direction,
        frame: &[u8],
    ) -> anyhow::Result<Outcome> {
        self.judge_from(pod, direction, frame, ELSEWHERE, 0)
    }

    /// The same for a packet that came in by `ingress` (0: sent by the node) with a mark.
    ///
    /// # Errors
    /// The kernel refuses the frame.
    pub fn judge_from(
        &mut self,
        pod: &PodId,
        direction: Direction,
        frame: &[u8],
        ingress: u32,
        mark: u32,
    ) -> anyhow::Result<Outcome> {
        let ifindex = *self.interfaces.get(pod).unwrap_or(&0);
        anyhow::ensure!(ifindex != 0, "{pod} has no interface");
        let program = match direction {
            Direction::Ingress => RunProgram::ToPod,
            Direction::Egress => RunProgram::FromPod,
        };
        let input = RunInput { frame, ifindex, ingress_ifindex: ingress, mark, repeat: 1 };
        let run = self.kernel.run(program, &input)?;
        Ok(Outcome { passes: run.passes, mark: run.mark })
    }

    /// A packet from a pod, as it is after the node has done with it what `translated` shows: at
    /// another pod's interface, or where it leaves the node (`None`).
    ///
    /// # Errors
    /// The kernel refuses a frame.
    pub fn forwarded(
        &mut self,
        sender: &PodId,
        sent: &[u8],
        receiver: Option<&PodId>,
        translated: &[u8],
    ) -> anyhow::Result<Forwarded> {
        let first = self.judge(sender, Direction::Egress, sent)?;
        if !first.passes {
            return Ok(Forwarded::AtSender);
        }
        let last = match receiver {
            Some(pod) => {
                self.judge_from(pod, Direction::Ingress, translated, ELSEWHERE, first.mark)?
            }
            None => self.wire(RunProgram::ToWire, translated, first.mark)?,
        };
        Ok(if last.passes { Forwarded::Passed } else { Forwarded::Later })
    }

    /// Lets a program of an uplink see a packet with a mark.
    ///
    /// # Errors
    /// The kernel refuses the frame.
    pub fn wire(
        &mut self,
        program: RunProgram,
        frame: &[u8],
        mark: u32,
    ) -> anyhow::Result<Outcome> {
        // Which interface does not matter: the loopback one is in every network namespace.
        let input = RunInput { frame, ifindex: 1, ingress_ifindex: ELSEWHERE, mark, repeat: 1 };
        let run = self.kernel.run(program, &input)?;
        Ok(Outcome { passes: run.passes, mark: run.mark })
    }

    /// The endpoint id of a pod.
    #[must_use]
    pub fn id(&self, pod: &PodId) -> Option<u32> {
        self.state.endpoints().find(|(it, _)| it.pod() == Some(pod)).map(|(_, record)| record.id)
    }

    /// A counter of a pod.
    ///
    /// # Errors
    /// The pod has no endpoint.
    pub fn count(
        &self,
        pod: &PodId,
        direction: Direction,
        reason: Reason,
    ) -> anyhow::Result<Count> {
        let id = self.id(pod).ok_or_else(|| anyhow::anyhow!("{pod} has no endpoint"))?;
        Ok(self.kernel.counters(id)?.counts[direction as usize][reason as usize])
    }
}

/// Whether the kernel lets a test run say where a packet came in by; Linux 5.10 does not.
fn takes_origin(kernel: &mut Kernel) -> bool {
    // The loopback interface has this index in every network namespace.
    let input =
        RunInput { frame: &[0; 60], ifindex: 1, ingress_ifindex: ELSEWHERE, mark: 0, repeat: 1 };
    kernel.run(RunProgram::Empty, &input).is_ok()
}

/// An address of the pod that is of the same family as `peer`.
#[must_use]
pub fn address_towards(cluster: &Cluster, pod: &PodId, peer: IpAddr) -> Option<IpAddr> {
    let addresses = &cluster.pods.get(pod)?.addresses;
    addresses.iter().copied().find(|it| it.is_ipv4() == peer.is_ipv4())
}

/// Keeps the calling thread on one CPU: what a program notes of a packet for the programs further
/// on, it notes for its own.
///
/// # Errors
/// There is no CPU to run on.
pub fn stay_on_one_cpu() -> anyhow::Result<()> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let mut last = None;
    for cpu in 0..CpuSet::count() {
        if allowed.is_set(cpu)? {
            last = Some(cpu);
        }
    }
    let mut one = CpuSet::new();
    one.set(last.context("no CPU to run on")?)?;
    sched_setaffinity(Pid::from_raw(0), &one)?;
    Ok(())
}

/// Runs something in a network namespace of its own with `count` interfaces, given their indices.
/// Nothing of it is left afterwards.
///
/// # Panics
/// The namespace can't be made (root is needed), or `inside` panics.
pub fn with_interfaces<T: Send>(count: u32, inside: impl FnOnce(Vec<u32>) -> T + Send) -> T {
    let body = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace: root is needed");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        inside(runtime.block_on(interfaces(count)))
    };
    let result = std::thread::scope(|scope| scope.spawn(body).join());
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

async fn interfaces(count: u32) -> Vec<u32> {
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    tokio::spawn(connection);
    let mut indices = Vec::new();
    for number in 0..count {
        let name = format!("pod{number}");
        let pair = LinkVeth::new(&name, &format!("peer{number}")).build();
        handle.link().add(pair).execute().await.unwrap();
        let mut links = handle.link().get().match_name(name).execute();
        indices.push(links.try_next().await.unwrap().unwrap().header.index);
    }
    indices
}
