#![expect(clippy::unwrap_used, clippy::expect_used, reason = "test tools may panic")]
//! Runs the loaded programs on constructed packets (`BPF_PROG_TEST_RUN`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use enforcer::kernel::{Kernel, KernelError, Pins, RunInput, RunProgram, Settings};
use enforcer_core::model::{Cluster, PodId};
use enforcer_core::policy::compile;
use enforcer_core::tables::{Desired, Interface, Owner, State, Step};
use enforcer_ebpf::contract::counters::{Count, Counters};
use enforcer_ebpf::contract::mark::{Deferred, Mark};
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use enforcer_ebpf::packet::{self, ethertype};
use futures::TryStreamExt as _;
use nix::sched::{CloneFlags, CpuSet, sched_getcpu, sched_setaffinity, unshare};
use nix::unistd::Pid;
use rtnetlink::LinkVeth;

/// The ingress interface of forwarded packets.
pub const ELSEWHERE: u32 = 1;

/// Loaded programs, with tables that can be reprogrammed for another cluster.
pub struct Rig {
    /// The programs.
    pub kernel: Kernel,
    state: State,
    /// The lowest bit of our marks.
    mark_shift: u32,
    /// The pods with an interface, by address.
    senders: BTreeMap<IpAddr, PodId>,
    /// The interface of each subject.
    pub interfaces: BTreeMap<PodId, u32>,
    /// The subjects whose interface is closed: the evidence for its pod conflicts.
    pub closed: BTreeSet<PodId>,
}

/// The result of a program for a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the packet passed.
    pub passes: bool,
    /// What the packet carries to the next program: `skb->mark`, and `skb->tc_index` above it.
    pub mark: u64,
}

/// The fate of a forwarded packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// Dropped at its sender's interface.
    AtSender,
    /// Dropped at the receiver's interface or at the uplink.
    Later,
    /// Passed.
    Passed,
}

impl Rig {
    /// Loads the programs.
    ///
    /// # Errors
    /// The programs can't be loaded: not root, or no eBPF object.
    pub fn new() -> anyhow::Result<Self> {
        Self::with(&Settings::default())
    }

    /// The same with other settings.
    pub fn with(settings: &Settings) -> anyhow::Result<Self> {
        Self::load(settings, Kernel::load)
    }

    /// The same with pinned tables: the next rig with these pins reuses flows and ids.
    pub fn pinned(settings: &Settings, pins: &Pins) -> anyhow::Result<Self> {
        Self::load(settings, |settings| Kernel::load_pinned(settings, pins))
    }

    fn load(
        settings: &Settings,
        load: impl Fn(&Settings) -> Result<Kernel, KernelError>,
    ) -> anyhow::Result<Self> {
        // Tested once: loading is slow on emulated machines.
        static TEST_ORIGIN: OnceLock<bool> = OnceLock::new();
        let test_origin = TEST_ORIGIN.get().copied().unwrap_or_default();
        let mut kernel = load(&Settings { test_origin, test_index: true, ..*settings })?;
        if !test_origin && *TEST_ORIGIN.get_or_init(|| !accepts_origin(&mut kernel)) {
            kernel = load(&Settings { test_origin: true, test_index: true, ..*settings })?;
        }
        let state = State::new(settings.limits).with_secrets(kernel.network_secrets());
        Ok(Self {
            kernel,
            state,
            mark_shift: settings.mark_mask.trailing_zeros(),
            senders: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            closed: BTreeSet::new(),
        })
    }

    /// Programs the tables for pods at these interfaces; returns the writes.
    pub fn program(
        &mut self,
        cluster: &Cluster,
        interfaces: BTreeMap<PodId, u32>,
    ) -> anyhow::Result<Vec<Step>> {
        let local = interfaces.keys().cloned().collect();
        let compiled = compile(cluster, &local);
        self.interfaces =
            interfaces.into_iter().filter(|(pod, _)| compiled.pods.contains_key(pod)).collect();
        let pods = self.interfaces.keys().filter_map(|id| cluster.pods.get(id));
        self.senders =
            pods.flat_map(|pod| pod.addresses.iter().map(|it| (*it, pod.id.clone()))).collect();
        let interface = |(pod, ifindex): (&PodId, &u32)| {
            let addresses = cluster.pods.get(pod).map(|it| it.addresses.to_set());
            let mut addresses = addresses.unwrap_or_default();
            let mut owner = Owner::Pod(pod.clone());
            if self.closed.contains(pod) {
                addresses.clear();
                owner = Owner::Gone(pod.clone());
            }
            (
                *ifindex,
                Interface { owner, identity: 0, uid: String::new(), addresses, check_source: true },
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

    /// Runs the program at a pod's interface on a frame.
    pub fn judge(
        &mut self,
        pod: &PodId,
        direction: Direction,
        frame: &[u8],
    ) -> anyhow::Result<Outcome> {
        let mark = match direction {
            // What comes from another pod has passed its interface, the rest an uplink.
            Direction::Ingress => match self.sender(frame).filter(|sender| sender != pod) {
                Some(sender) => self.mark_of(&sender),
                None => self.wire(RunProgram::FromWire, frame, 0)?.mark,
            },
            Direction::Egress => 0,
        };
        self.judge_from(pod, direction, frame, ELSEWHERE, mark)
    }

    /// The pod with an interface that has a frame's source address.
    fn sender(&self, frame: &[u8]) -> Option<PodId> {
        let (kind, start) = packet::ethernet(frame).ok()?;
        let source: IpAddr = match kind {
            ethertype::IPV4 => Ipv4Addr::from(packet::fixed4(frame, start)?.source).into(),
            ethertype::IPV6 => {
                let [high, low] = packet::fixed6(frame, start)?.source;
                Ipv6Addr::from(u128::from(high) << 64 | u128::from(low)).into()
            }
            _ => return None,
        };
        self.pod_at(source).cloned()
    }

    /// The pod with an interface that has this address.
    pub fn pod_at(&self, address: IpAddr) -> Option<&PodId> {
        self.senders.get(&address)
    }

    /// The mark of a pod's packets of which nothing is deferred.
    fn mark_of(&self, pod: &PodId) -> u64 {
        let mark = Mark::pod(self.id(pod).unwrap_or(0), Deferred::Nothing);
        u64::from(mark.0) << self.mark_shift
    }

    /// The same for a packet with a mark from the interface `ingress` (0: sent by the node).
    pub fn judge_from(
        &mut self,
        pod: &PodId,
        direction: Direction,
        frame: &[u8],
        ingress: u32,
        mark: u64,
    ) -> anyhow::Result<Outcome> {
        let ifindex = *self.interfaces.get(pod).unwrap_or(&0);
        anyhow::ensure!(ifindex != 0, "{pod} has no interface");
        let program = match direction {
            Direction::Ingress => RunProgram::ToPod,
            Direction::Egress => RunProgram::FromPod,
        };
        self.run(program, run_input(frame, ifindex, ingress, mark))
    }

    /// Drops packets that entered by interfaces other than the pods' and these; `None`: none.
    pub fn deny_unguarded(&mut self, uplinks: Option<&[u32]>) -> anyhow::Result<()> {
        let listed = uplinks.unwrap_or_default().iter().copied().collect();
        Ok(self.kernel.set_origins(&listed, uplinks.is_some())?)
    }

    /// Sends a packet from a pod, which the node changes to `translated`, to another pod's
    /// interface or to the uplink (`None`).
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

    /// Runs a program of the uplink on a packet with a mark.
    pub fn wire(
        &mut self,
        program: RunProgram,
        frame: &[u8],
        mark: u64,
    ) -> anyhow::Result<Outcome> {
        self.wire_from(program, frame, ELSEWHERE, mark)
    }

    /// The same for a packet from the interface `ingress`.
    pub fn wire_from(
        &mut self,
        program: RunProgram,
        frame: &[u8],
        ingress: u32,
        mark: u64,
    ) -> anyhow::Result<Outcome> {
        self.run(program, run_input(frame, LOOPBACK, ingress, mark))
    }

    fn run(&mut self, program: RunProgram, input: RunInput<'_>) -> anyhow::Result<Outcome> {
        let run = self.kernel.run(program, &input)?;
        Ok(Outcome { passes: run.passes, mark: u64::from(run.index) << 32 | u64::from(run.mark) })
    }

    /// The endpoint id of a pod.
    pub fn id(&self, pod: &PodId) -> Option<u32> {
        self.state.endpoints().find(|(it, _)| it.pod() == Some(pod)).map(|(_, record)| record.id)
    }

    /// A counter of a pod.
    pub fn count(
        &self,
        pod: &PodId,
        direction: Direction,
        reason: Reason,
    ) -> anyhow::Result<Count> {
        let id = self.id(pod).ok_or_else(|| anyhow::anyhow!("{pod} has no endpoint"))?;
        self.count_of(id, direction, reason)
    }

    /// All counters of a pod.
    pub fn counters(&self, pod: &PodId) -> anyhow::Result<Counters> {
        let id = self.id(pod).ok_or_else(|| anyhow::anyhow!("{pod} has no endpoint"))?;
        Ok(self.kernel.counters(id)?)
    }

    /// The pod's drop events that were not sent.
    pub fn lost_events(&self, pod: &PodId) -> anyhow::Result<u64> {
        let id = self.id(pod).ok_or_else(|| anyhow::anyhow!("{pod} has no endpoint"))?;
        Ok(self.kernel.counter_reader().lost_events(id)?)
    }

    /// The index of a pod's interface.
    pub fn interface(&self, pod: &PodId) -> Option<u32> {
        self.interfaces.get(pod).copied()
    }

    /// A counter of an endpoint id.
    pub fn count_of(&self, id: u32, direction: Direction, reason: Reason) -> anyhow::Result<Count> {
        Ok(self.kernel.counters(id)?.counts[direction as usize][reason as usize])
    }
}

/// The input of one run. `mark`: as in [`Outcome`].
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "the two halves are what is meant")]
pub const fn run_input(
    frame: &[u8],
    ifindex: u32,
    ingress_ifindex: u32,
    mark: u64,
) -> RunInput<'_> {
    let (mark, index) = (mark as u32, (mark >> 32) as u32);
    RunInput { frame, ifindex, ingress_ifindex, mark, index, repeat: 1 }
}

/// The index of the loopback interface in every network namespace.
const LOOPBACK: u32 = 1;

/// Whether the kernel accepts an ingress interface in a test run; Linux 5.10 does not.
fn accepts_origin(kernel: &mut Kernel) -> bool {
    kernel.run(RunProgram::Empty, &run_input(&[0; 60], LOOPBACK, ELSEWHERE, 0)).is_ok()
}

/// An address of the pod in the family of `peer`.
pub fn address_towards(cluster: &Cluster, pod: &PodId, peer: IpAddr) -> Option<IpAddr> {
    let addresses = &cluster.pods.get(pod)?.addresses;
    addresses.iter().copied().find(|it| it.is_ipv4() == peer.is_ipv4())
}

/// Pins the calling thread to the CPU that it runs on: programs pass information on a packet to
/// later programs in per-CPU memory.
pub fn stay_on_one_cpu() -> anyhow::Result<()> {
    let mut one = CpuSet::new();
    one.set(sched_getcpu()?)?;
    sched_setaffinity(Pid::from_raw(0), &one)?;
    Ok(())
}

/// Runs `inside` with the indices of `count` interfaces in a network namespace of its own, which is
/// removed afterwards.
///
/// # Panics
/// The namespace can't be created (root is required), or `inside` panics.
pub fn with_interfaces<T: Send>(count: u32, inside: impl FnOnce(Vec<u32>) -> T + Send) -> T {
    let body = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("create a network namespace: root is required");
        stay_on_one_cpu().expect("stay on a CPU");
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
