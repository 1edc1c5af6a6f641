//! Generated packets of generated clusters, judged by the loaded programs and by the reference
//! evaluator (semantics S1–S5, R1–R8, A1–A3, C2, P1, P2, P6).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use enforcer::model::{Cluster, PodId, Protocol};
use enforcer::policy::reference::{self, Traffic};
use enforcer_ebpf::count::Direction;
use enforcer_tests::frame::{Fragment, Frame, Tcp, Transport};
use enforcer_tests::generate::{self, Size};
use enforcer_tests::rig::{Rig, address_towards, with_interfaces};
use proptest::prelude::RngExt as _;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// How many packets a run judges at least, unless told otherwise: ENFORCER_PACKETS=<number>.
const PACKETS: usize = 120_000;
/// The most pods of a cluster that get an interface.
const INTERFACES: u32 = 16;
/// Connections tried in each cluster.
const CONNECTIONS: usize = 500;

/// A seed to reproduce a run with: ENFORCER_SEED=<number>.
pub(crate) fn seed() -> u64 {
    match std::env::var("ENFORCER_SEED") {
        Ok(text) => text.parse().expect("ENFORCER_SEED is a number"),
        Err(_) => u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos()),
    }
}

/// How many packets to judge: fewer where a machine is emulated.
pub(crate) fn packets() -> usize {
    match std::env::var("ENFORCER_PACKETS") {
        Ok(text) => text.parse().expect("ENFORCER_PACKETS is a number"),
        Err(_) => PACKETS,
    }
}

pub(crate) fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
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
        println!("{judged} packets judged, {denied} of them denied");
        assert!(denied > judged / 20, "hardly anything was denied");
        assert!(denied < judged * 19 / 20, "hardly anything was allowed");
    });
}

/// The programs, and what was asked of them.
struct Session {
    rig: Rig,
    interfaces: Vec<u32>,
    port: u16,
    /// Between whom there has been GRE: without ports, all of it is one flow.
    tunnels: BTreeSet<(IpAddr, IpAddr)>,
    judged: usize,
    denied: usize,
}

/// A connection that was tried.
struct Tried {
    pod: PodId,
    direction: Direction,
    own: IpAddr,
    peer: IpAddr,
    traffic: Traffic,
    /// The port at the end that began it; an ICMP identifier.
    port: u16,
    /// Whether traffic without ports is GRE; else it is an echo request.
    gre: bool,
    allowed: bool,
}

impl Session {
    fn run(&mut self, cluster: &Cluster, changed: &Cluster, runner: &mut TestRunner) {
        let local = generate::local(cluster);
        let pods: BTreeMap<PodId, u32> =
            local.into_iter().zip(self.interfaces.iter().copied()).collect();
        self.rig.program(cluster, pods.clone()).unwrap();
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
            self.port = self.port.checked_add(1).unwrap_or(10_000);
            let port = self.port;
            let gre = traffic == Traffic::Portless
                && port.is_multiple_of(3)
                && self.tunnels.insert((own, peer));
            let mut it = Tried { pod, direction, own, peer, traffic, port, gre, allowed: false };
            self.forward(cluster, &mut it, runner);
            self.stray(cluster, &it, runner);
            self.fragments(cluster, &it, runner);
            // What is allowed as the node's or the pod's own traffic leaves no flow (A1, A2).
            if it.allowed && !is_own_or_node(cluster, &it.pod, it.peer) {
                // Its answer passes (semantics A3).
                let back = it.direction.opposite();
                self.judge(&it, back, &dressed(&it, back, answer(&it), runner), true);
                tried.push(it);
            }
        }
        self.rig.program(changed, pods).unwrap();
        for it in &tried {
            self.after_the_change(changed, it, runner);
        }
    }

    fn judge(&mut self, it: &Tried, direction: Direction, frame: &Frame, expected: bool) {
        let outcome = self.rig.judge(&it.pod, direction, &frame.build().bytes).unwrap();
        self.judged += 1;
        self.denied += usize::from(!expected);
        let Tried { pod, own, peer, traffic, .. } = it;
        assert_eq!(
            outcome.passes, expected,
            "{pod} ({own}) {direction:?} with {peer}, {traffic:?}, begun by {:?}: {frame:?}",
            it.direction,
        );
    }

    /// The first packet of a connection: policy alone decides.
    fn forward(&mut self, cluster: &Cluster, it: &mut Tried, runner: &mut TestRunner) {
        it.allowed = asked(cluster, it, it.direction, it.traffic);
        let frame = dressed(it, it.direction, opening(it), runner);
        self.judge(it, it.direction, &frame, it.allowed);
        if let (true, Traffic::Port(Protocol::Tcp, port)) = (it.allowed, it.traffic) {
            // The handshake's last packet: from now on the flow is known, whoever began it.
            let acknowledgement = Transport::Tcp(it.port, port, Tcp::Ack);
            let frame = dressed(it, it.direction, acknowledgement, runner);
            self.judge(it, it.direction, &frame, true);
        }
    }

    /// What looks like an answer, but to nothing, is judged like any packet (semantics P3).
    fn stray(&mut self, cluster: &Cluster, it: &Tried, runner: &mut TestRunner) {
        let Traffic::Port(Protocol::Tcp, port) = it.traffic else { return };
        // No connection of this run ever used this port.
        let unused = 9_000;
        let back = it.direction.opposite();
        let expected = asked(cluster, it, back, Traffic::Port(Protocol::Tcp, unused));
        let frame = dressed(it, back, Transport::Tcp(port, unused, Tcp::SynAck), runner);
        self.judge(it, back, &frame, expected);
    }

    /// Later fragments follow the first one's verdict; without it, they pass only where ports
    /// don't matter (semantics P2).
    fn fragments(&mut self, cluster: &Cluster, it: &Tried, runner: &mut TestRunner) {
        let whatever_the_port = asked(cluster, it, it.direction, Traffic::Portless);
        let follows = whatever_the_port || it.allowed;
        // No two packets of a run share it.
        let identification = u32::from(it.port);
        let mut piece = |fragment| {
            let mut frame = dressed(it, it.direction, opening(it), runner);
            frame.fragment = fragment;
            frame.identification = identification;
            frame
        };
        let later = piece(Fragment::Later);
        self.judge(it, it.direction, &later, whatever_the_port);
        self.judge(it, it.direction, &piece(Fragment::First), it.allowed);
        self.judge(it, it.direction, &later, follows);
        self.judge(it, it.direction, &piece(Fragment::Later), follows);
        // One that would lie over the flags of a TCP header can't be judged (semantics P1).
        let over = piece(Fragment::Second);
        let tcp = matches!(over.transport, Transport::Tcp(..));
        let isolated = Direction::ALL.map(|to| reference::is_isolated(cluster, &it.pod, to));
        let expected = if tcp { isolated == [false; 2] } else { follows };
        self.judge(it, it.direction, &over, expected);
        // Another packet's fragment learns nothing from this one: nobody has this number.
        let identification = 50_000 + identification % 10_000;
        let other = Frame { identification, ..piece(Fragment::Later) };
        self.judge(it, it.direction, &other, whatever_the_port);
    }

    /// Under changed policies a connection goes on as far as they allow it (semantics C2).
    fn after_the_change(&mut self, cluster: &Cluster, it: &Tried, runner: &mut TestRunner) {
        let still = asked(cluster, it, it.direction, it.traffic);
        let back = it.direction.opposite();
        let towards_opener = match it.traffic {
            Traffic::Port(protocol, _) => Traffic::Port(protocol, it.port),
            Traffic::Portless => Traffic::Portless,
        };
        let of_its_own = asked(cluster, it, back, towards_opener);
        let frame = dressed(it, back, answer(it), runner);
        self.judge(it, back, &frame, still || of_its_own);
        if !of_its_own {
            // The opening packet again, by the new policies.
            let frame = dressed(it, it.direction, opening(it), runner);
            self.judge(it, it.direction, &frame, still);
        }
    }
}

pub(crate) fn pick<'a, T>(from: &'a [T], runner: &mut TestRunner) -> &'a T {
    &from[runner.rng().random_range(0..from.len())]
}

fn is_own_or_node(cluster: &Cluster, pod: &PodId, peer: IpAddr) -> bool {
    cluster.node_addresses.contains(&peer) || cluster.pods[pod].addresses.contains(&peer)
}

fn asked(cluster: &Cluster, it: &Tried, direction: Direction, traffic: Traffic) -> bool {
    policy_allows(cluster, &it.pod, it.peer, direction, traffic)
}

/// What the reference evaluator says of a packet in `direction`, its rules A1 and A2 included.
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

/// A protocol without ports that is not ICMP: GRE (RFC 2784).
const GRE: u8 = 47;

fn opening(it: &Tried) -> Transport {
    match it.traffic {
        Traffic::Port(protocol, port) => Transport::open(protocol, it.port, port),
        Traffic::Portless if it.gre => Transport::Other(GRE),
        Traffic::Portless => Transport::echo(it.port, false),
    }
}

fn answer(it: &Tried) -> Transport {
    match it.traffic {
        Traffic::Port(protocol, port) => Transport::answer(protocol, port, it.port),
        Traffic::Portless if it.gre => Transport::Other(GRE),
        Traffic::Portless => Transport::echo(it.port, true),
    }
}

/// A frame with random options, extension headers and VLAN tags (semantics P1, P6).
fn dressed(
    it: &Tried,
    direction: Direction,
    transport: Transport,
    runner: &mut TestRunner,
) -> Frame {
    let (source, destination) = match direction {
        Direction::Ingress => (it.peer, it.own),
        Direction::Egress => (it.own, it.peer),
    };
    let mut frame = Frame::new(source, destination, transport);
    let rng = runner.rng();
    if rng.random_ratio(1, 4) {
        frame.options = rng.random_range(0..=10);
        let kinds = [0, 43, 51, 60, 135, 139, 140];
        for _ in 0..rng.random_range(0..=7) {
            let kind = kinds[rng.random_range(0..kinds.len())];
            frame.extensions.push((kind, rng.random_range(0..=4)));
        }
    }
    if rng.random_ratio(1, 8) {
        frame.vlans = vec![7; rng.random_range(1..=2)];
    }
    frame
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
