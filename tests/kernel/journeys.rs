//! Generated journeys through Services, node ports and masquerading: the verdicts of the loaded
//! programs at each hook on the way, and of the reference evaluator at the real ends (semantics
//! N1–N4, A1, C2). The tests themselves do the node's address translation.

use std::collections::BTreeMap;
use std::net::IpAddr;

use enforcer::kernel::RunProgram;
use enforcer_core::model::{Cluster, PodId, Protocol, Service, ServiceId};
use enforcer_core::policy::reference::Traffic;
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_tests::frame::{Frame, Tcp, Transport};
use enforcer_tests::generate;
use enforcer_tests::rig::{ELSEWHERE, Forwarded, Rig, address_towards, with_interfaces};
use proptest::prelude::RngExt as _;
use proptest::test_runner::TestRunner;

use crate::generated::{large, packets, pick, policy_allows, runner, seed};
use crate::support::ip;

/// Most pods of a cluster with an interface.
const INTERFACES: u32 = 16;
/// Journeys in each cluster.
const JOURNEYS: usize = 300;
/// Packets of the other generated test for each journey, which has four packets or more.
const SHARE: usize = 12;

/// An address of the node that is no pod's.
const NODE: [&str; 2] = ["10.224.0.4", "fd00:224::4"];
const SERVICE: [&str; 2] = ["10.96.0.10", "fd96::10"];
/// The port of the Service or of the node that the client connects to.
const ASKED: u16 = 30_080;

/// The end that opens a connection.
#[derive(Debug, Clone)]
enum Client {
    Pod(PodId),
    Outside,
}

/// A connection through the node's address translation.
#[derive(Debug, Clone)]
struct Journey {
    client: Client,
    source: IpAddr,
    /// The client's destination: a Service's or the node's address.
    asked: IpAddr,
    /// Whether translation replaces the source.
    masqueraded: bool,
    /// The receiving pod, if it is on this node.
    receiver: Option<PodId>,
    backend: IpAddr,
    protocol: Protocol,
    port: u16,
    /// The client's port, and the one that masquerade gives it.
    from: [u16; 2],
}

#[test]
fn n1_n3_n4_journeys_agree_with_the_reference() {
    let seed = seed();
    println!("seed {seed} (repeat with ENFORCER_SEED={seed})");
    with_interfaces(INTERFACES, |interfaces| {
        let mut runner = runner(seed);
        let mut walker = Walker { rig: Rig::new().unwrap(), port: 10_000, made: 0, passed: 0 };
        let enough = packets() / SHARE;
        // A few clusters may allow nearly all, or nothing.
        while walker.made < enough || walker.hardly_differ() && walker.made < 10 * enough {
            let cluster = with_service(large(&mut runner));
            let changed = Cluster { policies: large(&mut runner).policies, ..cluster.clone() };
            walker.run(&cluster, &changed, &interfaces, &mut runner);
        }
        println!("{} journeys, {} of them allowed", walker.made, walker.passed);
        assert!(!walker.hardly_differ());
    });
}

fn with_service(mut cluster: Cluster) -> Cluster {
    let service = Service {
        id: ServiceId::new("x", "front"),
        cluster_addresses: SERVICE.map(ip).into(),
        ..Service::default()
    };
    cluster.services.insert(service.id.clone(), service);
    cluster.node_addresses.extend(NODE.map(ip));
    cluster
}

struct Walker {
    rig: Rig,
    port: u16,
    made: usize,
    passed: usize,
}

impl Walker {
    /// Whether nearly all journeys had the same result.
    fn hardly_differ(&self) -> bool {
        self.passed <= self.made / 20 || self.passed >= self.made * 19 / 20
    }

    fn run(
        &mut self,
        cluster: &Cluster,
        changed: &Cluster,
        interfaces: &[u32],
        runner: &mut TestRunner,
    ) {
        let local = generate::local(cluster);
        let pods: BTreeMap<PodId, u32> =
            local.into_iter().zip(interfaces.iter().copied()).collect();
        self.rig.program(cluster, pods.clone()).unwrap();
        let subjects: Vec<PodId> = self.rig.interfaces.keys().cloned().collect();
        if subjects.is_empty() {
            return;
        }
        let mut living = Vec::new();
        for _ in 0..JOURNEYS {
            let Some(journey) = self.journey(cluster, &subjects, runner) else { continue };
            self.made += 1;
            let allowed = allowed(cluster, &journey);
            assert_eq!(self.forward(&journey, true), allowed, "{journey:?}");
            if !allowed {
                continue;
            }
            self.passed += 1;
            // The handshake's last packet, then an answer.
            assert!(self.forward(&journey, false), "{journey:?}");
            assert!(self.answer(&journey), "the answer: {journey:?}");
            living.push(journey);
        }
        self.rig.program(changed, pods).unwrap();
        for journey in living {
            let expected = answer_allowed(changed, &journey);
            assert_eq!(self.answer(&journey), expected, "changed, the answer: {journey:?}");
            let allowed = allowed(changed, &journey);
            let passes = self.forward(&journey, false);
            // Whether they have become replies depends on the clock: see `a6_…` in lifetime.rs.
            let may_be_replies = !allowed && answers_open(changed, &journey);
            assert!(may_be_replies || passes == allowed, "changed, {passes}: {journey:?}");
        }
    }

    fn journey(
        &mut self,
        cluster: &Cluster,
        subjects: &[PodId],
        runner: &mut TestRunner,
    ) -> Option<Journey> {
        let Traffic::Port(protocol, port) = *pick(&generate::traffic(cluster), runner) else {
            return None;
        };
        self.port = self.port.checked_add(2).unwrap_or(10_001);
        let addresses = generate::addresses(cluster);
        let pod = pick(subjects, runner).clone();
        let receiver = runner.rng().random_ratio(1, 2).then(|| pick(subjects, runner).clone());
        let far = *pick(&addresses, runner);
        let (client, source, backend) = if runner.rng().random_ratio(2, 3) {
            let backend = match &receiver {
                Some(receiver) => address_towards(cluster, receiver, far)?,
                None => far,
            };
            (Client::Pod(pod.clone()), address_towards(cluster, &pod, backend)?, backend)
        } else {
            let receiver = receiver.as_ref()?;
            (Client::Outside, far, address_towards(cluster, receiver, far)?)
        };
        let itself = matches!(&client, Client::Pod(pod) if receiver.as_ref() == Some(pod));
        let owns = |pod: &PodId, address| cluster.pods[pod].addresses.contains(address);
        // No later hook checks the node's own traffic; and the owner of an address that both ends
        // claim is ambiguous.
        let both = client.pod().is_some_and(|pod| owns(pod, &backend))
            || receiver.as_ref().is_some_and(|pod| owns(pod, &source));
        let by_node = cluster.node_addresses.contains(&source)
            || cluster.node_addresses.contains(&backend)
            || (both && !itself);
        if by_node || [source, backend].iter().any(is_unusable) {
            return None;
        }
        let (service, node) =
            if source.is_ipv4() { (SERVICE[0], NODE[0]) } else { (SERVICE[1], NODE[1]) };
        let by_service = runner.rng().random_ratio(1, 2);
        Some(Journey {
            client,
            source,
            asked: ip(if by_service { service } else { node }),
            masqueraded: !by_service || runner.rng().random_ratio(1, 3),
            receiver,
            backend,
            protocol,
            port,
            from: [self.port, self.port + 1],
        })
    }

    /// Whether a packet of the client arrives.
    fn forward(&mut self, it: &Journey, opens: bool) -> bool {
        let [port, translated_port] = it.ports();
        let transport = |from, to| match (it.protocol, opens) {
            (Protocol::Tcp, false) => Transport::Tcp(from, to, Tcp::Ack),
            (protocol, _) => Transport::open(protocol, from, to),
        };
        let sent = frame(it.source, it.asked, transport(port, ASKED));
        let arrives = frame(it.seen_as(), it.backend, transport(translated_port, it.port));
        self.hop(it.client.pod(), it.receiver.as_ref(), &sent, &arrives)
    }

    /// Whether the backend's reply arrives.
    fn answer(&mut self, it: &Journey) -> bool {
        let [port, translated_port] = it.ports();
        let transport = |from, to| Transport::answer(it.protocol, from, to);
        let sent = frame(it.backend, it.seen_as(), transport(it.port, translated_port));
        let arrives = frame(it.asked, it.source, transport(ASKED, port));
        self.hop(it.receiver.as_ref(), it.client.pod(), &sent, &arrives)
    }

    /// A packet from a pod of this node or from outside, on to a pod of this node or outside.
    fn hop(
        &mut self,
        sender: Option<&PodId>,
        receiver: Option<&PodId>,
        sent: &[u8],
        arrives: &[u8],
    ) -> bool {
        let Some(sender) = sender else {
            let mark = self.rig.wire(RunProgram::FromWire, sent, 0).unwrap().mark;
            let Some(pod) = receiver else { return true };
            let ingress = Direction::Ingress;
            return self.rig.judge_from(pod, ingress, arrives, ELSEWHERE, mark).unwrap().passes;
        };
        self.rig.forwarded(sender, sent, receiver, arrives).unwrap() == Forwarded::Passed
    }
}

impl Client {
    fn pod(&self) -> Option<&PodId> {
        match self {
            Self::Pod(pod) => Some(pod),
            Self::Outside => None,
        }
    }
}

impl Journey {
    fn ports(&self) -> [u16; 2] {
        let [own, masqueraded] = self.from;
        [own, if self.masqueraded { masqueraded } else { own }]
    }

    /// The client's address as the backend sees it.
    fn seen_as(&self) -> IpAddr {
        if !self.masqueraded {
            return self.source;
        }
        ip(if self.source.is_ipv4() { NODE[0] } else { NODE[1] })
    }

    fn is_to_itself(&self) -> bool {
        self.receiver.is_some() && self.client.pod() == self.receiver.as_ref()
    }
}

fn frame(source: IpAddr, destination: IpAddr, transport: Transport) -> Vec<u8> {
    Frame::new(source, destination, transport).build().bytes
}

/// Whether no packet can be sent from or to the address.
fn is_unusable(address: &IpAddr) -> bool {
    address.is_unspecified()
}

/// Both ends' consent, by their real addresses.
fn allowed(cluster: &Cluster, it: &Journey) -> bool {
    let traffic = Traffic::Port(it.protocol, it.port);
    it.is_to_itself()
        || (consents(cluster, it.client.pod(), it.backend, Direction::Egress, &[traffic])
            && consents(cluster, it.receiver.as_ref(), it.source, Direction::Ingress, &[traffic]))
}

fn consents(
    cluster: &Cluster,
    pod: Option<&PodId>,
    other: IpAddr,
    direction: Direction,
    traffic: &[Traffic],
) -> bool {
    pod.is_none_or(|pod| {
        traffic.iter().any(|it| policy_allows(cluster, pod, other, direction, *it))
    })
}

/// A reply passes an end that allows the packets that it replies to, or that would allow it as a
/// packet of its own. Where translation hides the destination port, one allowed port is enough.
fn answer_allowed(cluster: &Cluster, it: &Journey) -> bool {
    if it.is_to_itself() {
        return true;
    }
    let exactly = [Traffic::Port(it.protocol, it.port)];
    let some = generate::traffic(cluster);
    let [client_port, _] = it.ports();
    let as_its_own = [Traffic::Port(it.protocol, client_port)];
    let asked = |hidden| if hidden { &some[..] } else { &exactly[..] };
    let (client, receiver) = (it.client.pod(), it.receiver.as_ref());
    let leaves = consents(cluster, receiver, it.source, Direction::Ingress, asked(it.masqueraded))
        || consents(cluster, receiver, it.source, Direction::Egress, &as_its_own);
    let hidden = it.receiver.is_some();
    let arrives = consents(cluster, client, it.backend, Direction::Egress, asked(hidden))
        || consents(cluster, client, it.backend, Direction::Ingress, &as_its_own);
    leaves && arrives
}

/// Whether the answers, which are datagrams, could open the connection by each policy that forbids
/// the client to do it: then the client's datagrams are replies to them (semantics A6).
fn answers_open(cluster: &Cluster, it: &Journey) -> bool {
    if it.protocol == Protocol::Tcp {
        return false;
    }
    let forward = [Traffic::Port(it.protocol, it.port)];
    let [client_port, _] = it.ports();
    let back = [Traffic::Port(it.protocol, client_port)];
    // Addresses that may stand for others keep their initiator: of the client's side, the Service's.
    let receiver = it.receiver.as_ref().filter(|_| !it.masqueraded);
    let enters = consents(cluster, it.receiver.as_ref(), it.source, Direction::Ingress, &forward)
        || receiver.is_some() && consents(cluster, receiver, it.source, Direction::Egress, &back);
    let leaves = consents(cluster, it.client.pod(), it.backend, Direction::Egress, &forward);
    enters && leaves
}
