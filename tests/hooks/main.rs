//! Our programs beside others on the same hooks (semantics P5), on real packets. Needs root.
//!
//! The neighbour is a second set of our own programs with policies of its own: a packet that passes
//! one must still be checked by the other, in either order.
//!
//! What belongs here: two programs on one hook. What does not: attaching and detaching (`kernel`).

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests fail loudly")]

#[expect(dead_code, clippy::panic, reason = "shared with the tests of `node`")]
#[path = "../node/support.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use enforcer::kernel::{Hooks, Place};
use enforcer_core::model::{
    Cluster, Labels, Namespace as KubeNamespace, Pod, PodId, Policy, PolicyId, PortRange, PortRule,
    PortSpec, Protocol, Rule, Selector,
};
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use enforcer_tests::rig::Rig;
use support::{Namespace, pod};

const NODE: &str = "10.9.0.1";
const POD: &str = "10.9.0.2";
const HOST_SIDE: &str = "veth-pod";

fn subject() -> PodId {
    PodId::new("shop", "subject")
}

/// The pod may send to these UDP ports, and nothing else.
fn cluster(ports: &[u16]) -> Cluster {
    let port = |&port: &u16| PortRule {
        protocol: Protocol::Udp,
        port: PortSpec::Range(PortRange { first: port, last: port }),
    };
    let policy = Policy {
        id: PolicyId::new("shop", "ports"),
        subjects: Selector { requirements: [].into() },
        ingress: None,
        egress: Some(vec![Rule { peers: vec![], ports: ports.iter().map(port).collect() }]),
        audit: false,
    };
    let addresses = BTreeSet::from([POD.parse().unwrap()]);
    let pod = Pod { addresses: addresses.into(), ..Pod::new(subject()) };
    let namespace = KubeNamespace::new("shop", Labels::new());
    Cluster {
        namespaces: BTreeMap::from([("shop".to_owned(), namespace)]),
        pods: BTreeMap::from([(pod.id.clone(), pod)]),
        policies: BTreeMap::from([(policy.id.clone(), policy)]),
        ..Cluster::default()
    }
}

/// Programs at the pod's interface.
struct Guard {
    rig: Rig,
    _hooks: Hooks,
}

impl Guard {
    /// Attaches programs with these policies in front of the existing ones.
    fn new(mut hooks: Hooks, ifindex: u32, ports: &[u16]) -> Self {
        let mut rig = Rig::new().unwrap();
        rig.program(&cluster(ports), BTreeMap::from([(subject(), ifindex)])).unwrap();
        hooks.attach(&mut rig.kernel, ifindex, HOST_SIDE, Place::Pod).unwrap();
        Self { rig, _hooks: hooks }
    }

    /// Packets that its policy has allowed, and denied.
    fn verdicts(&self) -> (u64, u64) {
        let count = |reason| self.rig.count(&subject(), Direction::Egress, reason).unwrap().packets;
        (count(Reason::Policy), count(Reason::Denied))
    }
}

/// Sends one datagram to each port, and waits until the first guard has seen all of them.
fn send(pod: &Namespace, ports: &[u16], first: &Guard) {
    let before = first.verdicts();
    pod.enter(|| {
        let socket = UdpSocket::bind((POD.parse::<IpAddr>().unwrap(), 0)).unwrap();
        for port in ports {
            socket.send_to(b"hello", (NODE.parse::<IpAddr>().unwrap(), *port)).unwrap();
        }
    });
    let started_at = Instant::now();
    let seen = |(allowed, denied): (u64, u64)| allowed + denied;
    while seen(first.verdicts()) < seen(before) + ports.len() as u64 {
        assert!(started_at.elapsed() < Duration::from_secs(10), "{:?}", first.verdicts());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The later programs run first: in TCX by request, in clsact among equal priorities.
fn two_guards(hooks: fn() -> Hooks) {
    let node = Namespace::new();
    let (pod, ifindex) = pod(&node, HOST_SIDE, &[POD]);
    node.run(async |ip| ip.add(HOST_SIDE, NODE, 24).await);
    node.enter(|| {
        let neighbour = Guard::new(hooks(), ifindex, &[53, 80]);
        let ours = Guard::new(hooks(), ifindex, &[53, 443]);
        send(&pod, &[53, 80, 443, 9], &ours);
        assert_eq!(ours.verdicts(), (2, 2));
        // The second checked the packets that the first allowed, and saw none that it dropped.
        assert_eq!(neighbour.verdicts(), (1, 1));
        // The other one stays.
        drop(ours);
        send(&pod, &[80, 443], &neighbour);
        assert_eq!(neighbour.verdicts(), (2, 2));
    });
}

#[test]
fn p5_the_next_program_checks_allowed_packets_on_tcx() {
    two_guards(Hooks::default);
}

#[test]
fn p5_the_next_program_checks_allowed_packets_on_clsact() {
    two_guards(|| Hooks::default().without_tcx());
}

#[test]
fn p5_clsact_and_tcx_work_together() {
    let node = Namespace::new();
    let (pod, ifindex) = pod(&node, HOST_SIDE, &[POD]);
    node.run(async |ip| ip.add(HOST_SIDE, NODE, 24).await);
    node.enter(|| {
        let ours = Guard::new(Hooks::default(), ifindex, &[53]);
        let neighbour = Guard::new(Hooks::default().without_tcx(), ifindex, &[80]);
        send(&pod, &[53, 80], &ours);
        assert_eq!((ours.verdicts(), neighbour.verdicts()), ((1, 1), (0, 1)));
    });
}
