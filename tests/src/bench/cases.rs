//! The measured clusters and packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer::kernel::RunProgram;
use enforcer_core::model::{
    Block, Cluster, Labels, Namespace, Peer, Pod, PodId, Policy, PolicyId, PortRange, PortRule,
    PortSpec, Protocol, Requirement, Rule, Selector, Service, ServiceId,
};
use enforcer_ebpf::contract::verdict::Direction;

use crate::frame::{Frame, Tcp, Transport};
use crate::rig::Rig;

/// Packets of a case.
const PACKETS: u32 = 1_000;
/// Runs of each packet in a row.
const REPEAT: u32 = 200;

/// The size of a cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) policies: usize,
    pub(super) peers: usize,
}

impl Shape {
    pub(super) const ALL: [Self; 4] = [
        Self { policies: 1, peers: 10 },
        Self { policies: 1_000, peers: 10 },
        Self { policies: 1, peers: 100_000 },
        Self { policies: 1_000, peers: 100_000 },
    ];
}

/// A measured kind of packet.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) family: u8,
    pub(super) program: RunProgram,
    pub(super) ifindex: u32,
    pub(super) passes: bool,
    pub(super) mark: u64,
    /// The packet as it entered the node: each round notes its sender again and takes its mark.
    pub(super) entered: Option<Vec<u8>>,
    pub(super) repeat: u32,
    frames: Vec<Vec<u8>>,
    /// Makes new packets for each round.
    fresh: Option<Box<dyn FnMut() -> Vec<Vec<u8>> + Send>>,
}

impl Case {
    fn new(
        name: &'static str,
        v4: bool,
        program: RunProgram,
        ifindex: u32,
        frames: Vec<Vec<u8>>,
    ) -> Self {
        let (passes, mark, repeat, fresh) = (true, 0, REPEAT, None);
        let family = if v4 { 4 } else { 6 };
        let entered = None;
        Self { name, family, program, ifindex, passes, mark, entered, repeat, frames, fresh }
    }

    pub(super) fn next_packets(&mut self) -> Vec<Vec<u8>> {
        match &mut self.fresh {
            Some(fresh) => fresh(),
            None => self.frames.clone(),
        }
    }
}

fn selector(value: &str) -> Selector {
    let requirement = Requirement::In("app".to_owned(), BTreeSet::from([value.to_owned()]));
    Selector { requirements: BTreeSet::from([requirement]) }
}

fn pod(name: String, label: &str, addresses: [IpAddr; 2]) -> Pod {
    Pod {
        labels: Labels::from([("app".to_owned(), label.to_owned())]),
        addresses: addresses.into(),
        ..Pod::new(PodId::new("bench", name))
    }
}

/// The addresses of the pod `number`: dense, like in a real cluster.
fn address(number: u32, v4: bool) -> IpAddr {
    if v4 {
        Ipv4Addr::from(0x0a00_0000 + number).into()
    } else {
        // 250 pods of each node's /64.
        let (node, pod) = (u128::from(number / 250), u128::from(number % 250 + 1));
        Ipv6Addr::from((0xfd12_3456_789a_u128 << 80) + (node << 64) + pod).into()
    }
}

fn outside(number: u32, v4: bool, block: bool) -> IpAddr {
    match (v4, block) {
        (true, true) => Ipv4Addr::from(0xc612_0000 + number).into(),
        (true, false) => Ipv4Addr::from(0xcb00_7100 + number * 77).into(),
        (false, true) => Ipv6Addr::from((0x2001_0db8_u128 << 96) + u128::from(number)).into(),
        (false, false) => Ipv6Addr::from((0x2600_1f18_u128 << 96) + u128::from(number * 77)).into(),
    }
}

const SUBJECT: u32 = 1;
const FREE: u32 = 2;
const NODE: u32 = 3;
const SERVICE: u32 = 4;
const FIRST_PEER: u32 = 256;

fn cluster(shape: Shape) -> Cluster {
    let both = |number| [address(number, true), address(number, false)];
    let peers = u32::try_from(shape.peers).unwrap_or(u32::MAX);
    let mut pods = vec![
        pod("subject".to_owned(), "subject", both(SUBJECT)),
        pod("free".to_owned(), "free", both(FREE)),
    ];
    pods.extend((0..peers).map(|it| pod(format!("peer{it}"), "peer", both(FIRST_PEER + it))));
    let service = Service {
        id: ServiceId { namespace: "bench".to_owned(), name: "service".to_owned() },
        cluster_addresses: both(SERVICE).into(),
        ..Service::default()
    };
    let policies = (0..shape.policies).map(|number| {
        let policy = policy(number);
        (policy.id.clone(), policy)
    });
    Cluster {
        namespaces: BTreeMap::from([("bench".to_owned(), Namespace::new("bench", Labels::new()))]),
        pods: pods.into_iter().map(|pod| (pod.id.clone(), pod)).collect(),
        policies: policies.collect(),
        node_addresses: both(NODE).into(),
        services: BTreeMap::from([(service.id.clone(), service)]),
    }
}

/// A policy that allows peers on port 80 and on a port unique to the policy, a block on port 80,
/// and all egress to the block and to the pod that is not isolated.
fn policy(number: usize) -> Policy {
    let tcp = |port: u16| PortRule {
        protocol: Protocol::Tcp,
        port: PortSpec::Range(PortRange { first: port, last: port }),
    };
    let own = 20_000 + u16::try_from(number).unwrap_or_default();
    let block = |cidr: &str| {
        let cidr = cidr.parse().ok()?;
        Some(Peer::Block(Block { cidr, except: BTreeSet::new() }))
    };
    let blocks = || block("198.18.0.0/15").into_iter().chain(block("2001:db8::/32"));
    let peers = Peer::Pods { namespaces: None, pods: selector("peer") };
    let backends = Peer::Pods { namespaces: None, pods: selector("free") };
    Policy {
        id: PolicyId::new("bench", format!("policy{number}")),
        subjects: selector("subject"),
        ingress: Some(vec![
            Rule { peers: vec![peers], ports: vec![tcp(80), tcp(own)] },
            Rule { peers: blocks().collect(), ports: vec![tcp(80)] },
        ]),
        egress: Some(vec![
            Rule { peers: blocks().collect(), ports: Vec::new() },
            Rule { peers: vec![backends], ports: Vec::new() },
        ]),
    }
}

/// Programs the tables and makes the packets.
pub(super) fn prepare(
    rig: &mut Rig,
    interfaces: &[u32],
    shape: Shape,
) -> anyhow::Result<Vec<Case>> {
    let cluster = cluster(shape);
    let pods = ["subject", "free"].map(|name| PodId::new("bench", name));
    let interfaces: BTreeMap<PodId, u32> =
        pods.into_iter().zip(interfaces.iter().copied()).collect();
    rig.program(&cluster, interfaces)?;
    let mut cases = Vec::new();
    for v4 in [true, false] {
        cases.extend(family(rig, shape, v4)?);
    }
    // Last, since they overwrite the remembered outside clients.
    cases.sort_by_key(|case| case.program == RunProgram::FromWire);
    Ok(cases)
}

fn family(rig: &mut Rig, shape: Shape, v4: bool) -> anyhow::Result<Vec<Case>> {
    let subject = rig.interfaces.get(&PodId::new("bench", "subject")).copied().unwrap_or(0);
    let free = rig.interfaces.get(&PodId::new("bench", "free")).copied().unwrap_or(0);
    let peers = u32::try_from(shape.peers).unwrap_or(u32::MAX);
    // Spread over all peers.
    let peer = move |it: u32| address(FIRST_PEER + (it * 7_919) % peers, v4);
    let own = address(SUBJECT, v4);
    let to_subject = |name, passes, port, source: &dyn Fn(u32) -> IpAddr| {
        let frames = frames(|it| tcp(source(it), client(it), own, port, Tcp::Ack));
        Case { passes, ..Case::new(name, v4, RunProgram::ToPod, subject, frames) }
    };
    let (block, stranger) = (|it| outside(it, v4, true), |it| outside(it, v4, false));
    let to_free = frames(|it| tcp(peer(it), client(it), address(FREE, v4), 80, Tcp::Ack));
    let opening = frames(|it| tcp(stranger(it), client(it), own, 80, Tcp::Syn));
    let opening = Case::new("denied, opening packet", v4, RunProgram::ToPod, subject, opening);
    let replies = frames(|it| tcp(block(it), 443, own, client(it), Tcp::Ack));
    let mut cases = vec![
        Case::new("not isolated", v4, RunProgram::ToPod, free, to_free),
        to_subject("allowed by pod selector", true, 80, &peer),
        to_subject("allowed by ipBlock", true, 80, &block),
        to_subject("denied, unknown source", false, 80, &stranger),
        to_subject("denied, port", false, 81, &peer),
        Case { passes: false, ..opening },
        Case::new("reply by the flow table", v4, RunProgram::ToPod, subject, replies),
    ];
    for it in 0..PACKETS {
        establish(rig, [own, block(it)], client(it))?;
    }
    // The same without writing a flow: packets that come only once are not in the caches.
    let known = frames(|it| tcp(own, client(it), block(it), 443, Tcp::Syn));
    let known =
        Case::new("opening packet of a known flow", v4, RunProgram::FromPod, subject, known);
    cases.push(Case { repeat: 1, ..known });
    let mut round = 0_u16;
    let fresh = move || {
        round += 1;
        frames(|it| tcp(own, 1_000 + round, outside(it, v4, true), 443, Tcp::Syn))
    };
    let first = Vec::new();
    let first = Case::new("first packet, writes a flow", v4, RunProgram::FromPod, subject, first);
    cases.push(Case { repeat: 1, fresh: Some(Box::new(fresh)), ..first });
    cases.extend(translated(rig, (subject, free), v4)?);
    Ok(cases)
}

/// The cases of address translation: both hooks of a pod's packet to a Service, a masqueraded
/// outside client, and the uplinks.
fn translated(rig: &mut Rig, (subject, free): (u32, u32), v4: bool) -> anyhow::Result<Vec<Case>> {
    let ack = |source: IpAddr, it: u32, destination: IpAddr, port: u16| {
        tcp(source, client(it), destination, port, Tcp::Ack)
    };
    let (own, node, service) = (address(SUBJECT, v4), address(NODE, v4), address(SERVICE, v4));
    let block = |it| outside(it, v4, true);
    let pod = PodId::new("bench", "subject");
    let pending = rig.judge(&pod, Direction::Egress, &ack(own, 0, service, 80))?.mark;
    for it in 0..PACKETS {
        rig.judge(&pod, Direction::Egress, &tcp(own, client(it), service, 80, Tcp::Syn))?;
    }
    let entered = ack(block(0), 0, node, 30_080);
    let case = |name, program, ifindex, mark, frame: &dyn Fn(u32) -> Vec<u8>| Case {
        mark,
        ..Case::new(name, v4, program, ifindex, frames(frame))
    };
    let (from_pod, to_pod) = (RunProgram::FromPod, RunProgram::ToPod);
    let to_service = |it| ack(own, it, service, 80);
    let to_block = |it| ack(own, it, block(it), 80);
    let backend = address(FREE, v4);
    let to_backend = |it| ack(own, it, backend, 80);
    Ok(vec![
        case("to a Service, left open", from_pod, subject, 0, &to_service),
        case("to a Service, judged at the backend", to_pod, free, pending, &to_backend),
        Case {
            entered: Some(entered),
            ..case("masqueraded client, allowed by ipBlock", to_pod, subject, 0, &|it| {
                ack(node, it, own, 80)
            })
        },
        case("comes in at an uplink", RunProgram::FromWire, free, 0, &|it| {
            ack(block(it), it, own, 80)
        }),
        case("leaves by an uplink, nothing open", RunProgram::ToWire, free, 0, &to_block),
    ])
}

/// The packets of a case, by number.
fn frames(frame: impl Fn(u32) -> Vec<u8>) -> Vec<Vec<u8>> {
    (0..PACKETS).map(frame).collect()
}

fn tcp(source: IpAddr, from: u16, destination: IpAddr, to: u16, kind: Tcp) -> Vec<u8> {
    Frame::new(source, destination, Transport::Tcp(from, to, kind)).build().bytes
}

/// Performs a handshake: most packets are replies of established flows.
fn establish(rig: &mut Rig, [own, server]: [IpAddr; 2], port: u16) -> anyhow::Result<()> {
    let subject = PodId::new("bench", "subject");
    for (direction, kind) in [
        (Direction::Egress, Tcp::Syn),
        (Direction::Ingress, Tcp::SynAck),
        (Direction::Egress, Tcp::Ack),
    ] {
        let frame = match direction {
            Direction::Egress => tcp(own, port, server, 443, kind),
            Direction::Ingress => tcp(server, 443, own, port, kind),
        };
        let judged = rig.judge(&subject, direction, &frame)?;
        anyhow::ensure!(judged.passes, "a packet of the handshake was denied");
    }
    Ok(())
}

fn client(it: u32) -> u16 {
    40_000 + u16::try_from(it % 20_000).unwrap_or_default()
}
