//! Generated packets of generated clusters: the verdicts of the loaded programs and of the
//! reference evaluator (semantics S1–S5, R1–R8, A1–A3, C2, P1, P2, P6).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use enforcer_core::model::{Cluster, PodId, Protocol};
use enforcer_core::policy::reference::{self, Traffic};
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_tests::failure;
use enforcer_tests::frame::{Fragment, Frame, Tcp, Transport};
use enforcer_tests::generate::{self, Size};
use enforcer_tests::rig::{Rig, address_towards, with_interfaces};
use proptest::prelude::RngExt as _;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::tried::{Tried, answer, dressed, is_own_or_node, opening};

/// Least packets of a run; `ENFORCER_PACKETS=<number>` sets another number.
const PACKETS: usize = 120_000;
/// Most pods of a cluster with an interface.
const INTERFACES: u32 = 16;
/// Connections tried in each cluster.
const CONNECTIONS: usize = 500;

/// The seed of a run; `ENFORCER_SEED=<number>` reproduces it.
pub(crate) fn seed() -> u64 {
    match std::env::var("ENFORCER_SEED") {
        Ok(text) => text.parse().expect("ENFORCER_SEED is a number"),
        Err(_) => u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos()),
    }
}

/// The packets of a run: fewer on an emulated machine.
pub(crate) fn packets() -> usize {
    match std::env::var("ENFORCER_PACKETS") {
        Ok(text) => text.parse().expect("ENFORCER_PACKETS is a number"),
        Err(_) => PACKETS,
    }
}

fn rng(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

pub(crate) fn runner(seed: u64) -> TestRunner {
    TestRunner::new_with_rng(Config::default(), rng(seed))
}

pub(crate) fn large(runner: &mut TestRunner) -> Cluster {
    generate::size(Size::LARGE).new_tree(runner).unwrap().current()
}

#[test]
fn loaded_programs_agree_with_the_reference() {
    let seed = seed();
    println!("seed {seed} (repeat with ENFORCER_SEED={seed})");
    with_interfaces(INTERFACES, |interfaces| {
        let mut runner = runner(seed);
        let rig = Rig::new().unwrap();
        let tunnels = BTreeSet::new();
        let mut session = Session { rig, interfaces, port: 10_000, tunnels, judged: 0, denied: 0 };
        let packets = packets();
        while session.judged < packets {
            let cluster = large(&mut runner);
            // The same pods under other policies: the tables go from any state to any other.
            let changed = Cluster { policies: large(&mut runner).policies, ..cluster.clone() };
            session.run(&cluster, &changed, &mut runner);
        }
        let Session { judged, denied, .. } = session;
        println!("{judged} packets, {denied} of them denied");
        assert!(denied > judged / 20, "hardly anything was denied");
        assert!(denied < judged * 19 / 20, "hardly anything was allowed");
    });
}

/// The programs, and the packets so far.
struct Session {
    rig: Rig,
    interfaces: Vec<u32>,
    port: u16,
    /// Pairs of addresses with GRE: without ports, all of its packets are one flow.
    tunnels: BTreeSet<(IpAddr, IpAddr)>,
    judged: usize,
    denied: usize,
}

/// The description of a packet on which the programs and the reference evaluator disagree.
struct Wrong(String);

type Judged = Result<(), Wrong>;

impl Session {
    fn run(&mut self, cluster: &Cluster, changed: &Cluster, runner: &mut TestRunner) {
        let pods = self.program(cluster);
        let subjects: Vec<PodId> = self.rig.interfaces.keys().cloned().collect();
        if subjects.is_empty() {
            return;
        }
        let addresses = generate::addresses(cluster);
        let traffic = generate::traffic(cluster);
        let mut tried = Vec::new();
        for _ in 0..CONNECTIONS {
            let pod = pick(&subjects, runner).clone();
            let peer = *pick(&addresses, runner);
            let Some(own) = address_towards(cluster, &pod, peer) else { continue };
            let direction = *pick(&Direction::ALL, runner);
            let traffic = *pick(&traffic, runner);
            let dress = runner.rng().random();
            let port = self.next_port();
            // Pods may not send tunnels to their node (P4).
            let gre = traffic == Traffic::Portless
                && !cluster.node_addresses.contains(&peer)
                && port.is_multiple_of(3)
                && self.tunnels.insert((own, peer));
            let mut it =
                Tried { pod, direction, own, peer, traffic, port, gre, dress, allowed: false };
            if let Err(wrong) = self.connection(cluster, &mut it) {
                self.fail(cluster, None, &it, wrong);
            }
            if it.leaves_a_flow(cluster) {
                tried.push(it);
            }
        }
        self.rig.program(changed, pods).unwrap();
        for it in &tried {
            if let Err(wrong) = self.after_the_change(changed, it) {
                self.fail(cluster, Some(changed), it, wrong);
            }
        }
    }

    fn program(&mut self, cluster: &Cluster) -> BTreeMap<PodId, u32> {
        let local = generate::local(cluster);
        let pods: BTreeMap<PodId, u32> =
            local.into_iter().zip(self.interfaces.iter().copied()).collect();
        self.rig.program(cluster, pods.clone()).unwrap();
        pods
    }

    fn next_port(&mut self) -> u16 {
        self.port = self.port.checked_add(1).unwrap_or(10_000);
        self.port
    }

    /// All packets of a connection under one state of the cluster.
    fn connection(&mut self, cluster: &Cluster, it: &mut Tried) -> Judged {
        let mut rng = rng(it.dress);
        self.forward(cluster, it, &mut rng)?;
        self.stray(cluster, it, &mut rng)?;
        self.fragments(cluster, it, &mut rng)?;
        if it.leaves_a_flow(cluster) {
            // Its answer passes (semantics A3).
            let back = it.direction.opposite();
            self.judge(it, back, &dressed(it, back, answer(it), &mut rng), true)?;
        }
        Ok(())
    }

    /// Finds the smallest clusters on which the same connection fails, keeps them, and fails.
    fn fail(&mut self, cluster: &Cluster, changed: Option<&Cluster>, it: &Tried, wrong: Wrong) {
        let mut wrong = wrong;
        // Traffic without ports is one flow: it can't be repeated as a new one.
        let (before, after) = match (it.gre, changed) {
            (true, _) => (cluster.clone(), changed.cloned()),
            (false, None) => {
                let fails = |less: &Cluster| self.again(less, None, it, &mut wrong);
                (generate::smaller(cluster, fails), None)
            }
            (false, Some(changed)) => {
                let with = |policies: &Cluster, all: &Cluster| Cluster {
                    policies: policies.policies.clone(),
                    ..all.clone()
                };
                let after = generate::smaller(changed, |less| {
                    self.again(&with(cluster, less), Some(less), it, &mut wrong)
                });
                let before = generate::smaller(&with(cluster, &after), |less| {
                    self.again(less, Some(&with(&after, less)), it, &mut wrong)
                });
                let after = with(&after, &before);
                (before, Some(after))
            }
        };
        let mut text = wrong.0;
        if let Some(after) = after {
            let kept = failure::keep("kernel-after", &after, &text).unwrap();
            text = format!("{text}\nafter a change from this cluster to the one kept in {kept:?}");
        }
        let kept = failure::keep("kernel", &before, &text).unwrap();
        let kept = kept.display();
        assert!(
            text.is_empty(),
            "{text}\nreproduce it: cargo xtask run --manifests {kept}/manifests"
        );
    }

    /// Whether a connection fails again, on other clusters.
    fn again(
        &mut self,
        cluster: &Cluster,
        changed: Option<&Cluster>,
        it: &Tried,
        wrong: &mut Wrong,
    ) -> bool {
        let pods = self.program(cluster);
        if address_towards(cluster, &it.pod, it.peer) != Some(it.own)
            || !self.rig.interfaces.contains_key(&it.pod)
        {
            return false;
        }
        let mut it = Tried { port: self.next_port(), ..it.clone() };
        let mut judged = self.connection(cluster, &mut it);
        if let (Ok(()), Some(changed)) = (&judged, changed) {
            self.rig.program(changed, pods).unwrap();
            judged = self.after_the_change(changed, &it);
        }
        match judged {
            Ok(()) => false,
            Err(again) => {
                *wrong = again;
                true
            }
        }
    }

    fn judge(&mut self, it: &Tried, direction: Direction, frame: &Frame, expected: bool) -> Judged {
        let outcome = self.rig.judge(&it.pod, direction, &frame.build().bytes).unwrap();
        self.judged += 1;
        self.denied += usize::from(!expected);
        if outcome.passes == expected {
            return Ok(());
        }
        let Tried { pod, own, peer, traffic, .. } = it;
        let got = if outcome.passes { "passes" } else { "is dropped" };
        Err(Wrong(format!(
            "{pod} ({own}) {direction:?} with {peer}, {traffic:?}, opened by {:?}: it {got}: {frame:?}",
            it.direction,
        )))
    }

    /// The first packet of a connection: policy alone decides.
    fn forward(&mut self, cluster: &Cluster, it: &mut Tried, rng: &mut TestRng) -> Judged {
        it.allowed = asked(cluster, it, it.direction, it.traffic);
        let frame = dressed(it, it.direction, opening(it), rng);
        self.judge(it, it.direction, &frame, it.allowed)?;
        if let (true, Traffic::Port(Protocol::Tcp, port)) = (it.allowed, it.traffic) {
            // The handshake's last packet: from now on the flow's opener is known.
            let acknowledgement = Transport::Tcp(it.port, port, Tcp::Ack);
            let frame = dressed(it, it.direction, acknowledgement, rng);
            self.judge(it, it.direction, &frame, true)?;
        }
        Ok(())
    }

    /// A reply without a flow is checked like any packet (semantics P3).
    fn stray(&mut self, cluster: &Cluster, it: &Tried, rng: &mut TestRng) -> Judged {
        let Traffic::Port(Protocol::Tcp, port) = it.traffic else { return Ok(()) };
        // No connection of this run ever used this port.
        let unused = 9_000;
        let back = it.direction.opposite();
        let expected = asked(cluster, it, back, Traffic::Port(Protocol::Tcp, unused));
        let frame = dressed(it, back, Transport::Tcp(port, unused, Tcp::SynAck), rng);
        self.judge(it, back, &frame, expected)
    }

    /// Later fragments follow the first one's verdict; without it, they pass only where ports
    /// don't matter (semantics P2).
    fn fragments(&mut self, cluster: &Cluster, it: &Tried, rng: &mut TestRng) -> Judged {
        if self.rig.pod_at(it.peer) == Some(&it.pod) {
            // A piece from outside that has the pod's own address as its source is dropped there.
            return Ok(());
        }
        let whatever_the_port = asked(cluster, it, it.direction, Traffic::Portless);
        let follows = whatever_the_port || it.allowed;
        // No two packets of a run share it.
        let identification = u32::from(it.port);
        let mut piece = |fragment| {
            let mut frame = dressed(it, it.direction, opening(it), rng);
            frame.fragment = fragment;
            frame.identification = identification;
            frame
        };
        let later = piece(Fragment::Later);
        self.judge(it, it.direction, &later, whatever_the_port)?;
        self.judge(it, it.direction, &piece(Fragment::First), it.allowed)?;
        self.judge(it, it.direction, &later, follows)?;
        self.judge(it, it.direction, &piece(Fragment::Later), follows)?;
        // One that would overwrite the flags of a TCP header is unreadable (semantics P1).
        let over = piece(Fragment::Second);
        let tcp = matches!(over.transport, Transport::Tcp(..));
        let isolated = Direction::ALL.map(|to| reference::is_isolated(cluster, &it.pod, to));
        let expected = if tcp { isolated == [false; 2] } else { follows };
        self.judge(it, it.direction, &over, expected)?;
        // A fragment of another packet, with an unused number, gets no verdict from this one.
        let identification = 50_000 + identification % 10_000;
        let other = Frame { identification, ..piece(Fragment::Later) };
        self.judge(it, it.direction, &other, whatever_the_port)
    }

    /// Under changed policies a connection continues as far as they allow it (semantics C2).
    fn after_the_change(&mut self, cluster: &Cluster, it: &Tried) -> Judged {
        let mut rng = rng(it.dress.wrapping_add(1));
        let still = asked(cluster, it, it.direction, it.traffic);
        let back = it.direction.opposite();
        let towards_opener = match it.traffic {
            Traffic::Port(protocol, _) => Traffic::Port(protocol, it.port),
            Traffic::Portless => Traffic::Portless,
        };
        let of_its_own = asked(cluster, it, back, towards_opener);
        let frame = dressed(it, back, answer(it), &mut rng);
        self.judge(it, back, &frame, still || of_its_own)?;
        if !of_its_own {
            // The opening packet again, by the new policies.
            let frame = dressed(it, it.direction, opening(it), &mut rng);
            self.judge(it, it.direction, &frame, still)?;
        }
        Ok(())
    }
}

pub(crate) fn pick<'a, T>(from: &'a [T], runner: &mut TestRunner) -> &'a T {
    &from[runner.rng().random_range(0..from.len())]
}

fn asked(cluster: &Cluster, it: &Tried, direction: Direction, traffic: Traffic) -> bool {
    policy_allows(cluster, &it.pod, it.peer, direction, traffic)
}

/// The reference evaluator's verdict on a packet in `direction`, rules A1 and A2 included.
pub(crate) fn policy_allows(
    cluster: &Cluster,
    pod: &PodId,
    peer: IpAddr,
    direction: Direction,
    traffic: Traffic,
) -> bool {
    match direction {
        Direction::Ingress => reference::ingress_allows(cluster, pod, peer, traffic),
        Direction::Egress => {
            is_own_or_node(cluster, pod, peer)
                || reference::egress_allows(cluster, pod, peer, traffic)
        }
    }
}

#[test]
fn generated_clusters_have_subjects_of_every_kind() {
    let mut runner = runner(1);
    let mut kinds = BTreeSet::new();
    for _ in 0..200 {
        let cluster = large(&mut runner);
        for pod in generate::local(&cluster) {
            let isolated = Direction::ALL.map(|it| reference::is_isolated(&cluster, &pod, it));
            kinds.insert(isolated);
        }
    }
    // Each of the four isolations.
    assert_eq!(kinds.len(), 4, "{kinds:?}");
}
