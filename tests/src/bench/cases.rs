//! The measured clusters and packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer::kernel::RunProgram;
use enforcer_core::model::{
    Block, Cluster, Labels, Namespace, Peer, Pod, PodId, Policy, PolicyId, PortRange, PortRule,
    PortSpec, Protocol, Requirement, Rule, Selector, Service, ServiceId,
};
use enforcer_ebpf::contract::mark::Mark;
use enforcer_ebpf::contract::verdict::{Direction, Reason};

use super::rotator::Packets;
use crate::frame::{Frame, Tcp, Transport};
use crate::rig::Rig;

/// The flows of most cases.
const FLOWS: u32 = 1_000;
/// The flows of the cases that show what many flows cost.
const MANY: u32 = 100_000;
/// The most flows of replies, each established by a handshake.
const REPLIES: u32 = 10_000;

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
    pub(super) packets: Packets,
    /// The pod and the direction whose drops are counted.
    counted: Option<(PodId, Direction)>,
}

impl Case {
    fn new(
        name: &'static str,
        v4: bool,
        program: RunProgram,
        ifindex: u32,
        frames: &[Vec<u8>],
    ) -> anyhow::Result<Self> {
        let (passes, entered, counted) = (true, None, None);
        // What reaches a pod has passed another hook.
        let mark = if program == RunProgram::ToPod { OUTSIDE } else { 0 };
        let family = if v4 { 4 } else { 6 };
        let packets = Packets::new(frames)?;
        Ok(Self { name, family, program, ifindex, passes, mark, entered, packets, counted })
    }

    /// The packets that the pod's programs have dropped so far.
    pub(super) fn dropped(&self, rig: &Rig) -> anyhow::Result<u64> {
        let Some((pod, direction)) = &self.counted else { return Ok(0) };
        let drops = Reason::ALL.into_iter().filter(|reason| reason.is_drop());
        drops.map(|reason| Ok(rig.count(pod, *direction, reason)?.packets)).sum()
    }
}

fn selector(value: &str) -> Selector {
    let requirement = Requirement::In("app".to_owned(), [value.to_owned()].into());
    Selector { requirements: [requirement].into() }
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
        id: ServiceId::new("bench", "service"),
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
        ..Cluster::default()
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

/// The pods' interfaces, and the ends of packets.
struct Scene {
    v4: bool,
    subject: u32,
    free: u32,
    peers: u32,
}

impl Scene {
    fn new(rig: &Rig, shape: Shape, v4: bool) -> Self {
        let at = |name| rig.interfaces.get(&PodId::new("bench", name)).copied().unwrap_or(0);
        let peers = u32::try_from(shape.peers).unwrap_or(u32::MAX);
        Self { v4, subject: at("subject"), free: at("free"), peers }
    }

    fn own(&self) -> IpAddr {
        address(SUBJECT, self.v4)
    }

    /// The address and port of a flow's other end: spread over all peers.
    fn peer(&self, flow: u32) -> (IpAddr, u16) {
        let number = FIRST_PEER + (flow * 7_919) % self.peers;
        (address(number, self.v4), client(flow / self.peers))
    }

    fn block(&self, flow: u32) -> (IpAddr, u16) {
        (outside(flow, self.v4, true), client(flow))
    }

    fn stranger(&self, flow: u32) -> (IpAddr, u16) {
        (outside(flow, self.v4, false), client(flow))
    }

    /// A case of TCP packets to the subject.
    fn to_subject(
        &self,
        name: &'static str,
        flows: u32,
        (kind, port): (Tcp, u16),
        passes: bool,
        from: impl Fn(u32) -> (IpAddr, u16),
    ) -> anyhow::Result<Case> {
        let frames = frames(flows, |it| {
            let (address, client) = from(it);
            tcp(address, client, self.own(), port, kind)
        });
        let case = Case::new(name, self.v4, RunProgram::ToPod, self.subject, &frames)?;
        let counted = Some((PodId::new("bench", "subject"), Direction::Ingress));
        Ok(Case { passes, counted, ..case })
    }

    /// A case of packets from the subject.
    fn of_subject(
        &self,
        name: &'static str,
        flows: u32,
        frame: impl Fn(u32) -> Vec<u8>,
    ) -> anyhow::Result<Case> {
        let frames = frames(flows, frame);
        let case = Case::new(name, self.v4, RunProgram::FromPod, self.subject, &frames)?;
        let counted = Some((PodId::new("bench", "subject"), Direction::Egress));
        Ok(Case { counted, ..case })
    }
}

fn family(rig: &mut Rig, shape: Shape, v4: bool) -> anyhow::Result<Vec<Case>> {
    let it = Scene::new(rig, shape, v4);
    let own = it.own();
    let to_free = frames(FLOWS, |flow| {
        let (peer, client) = it.peer(flow);
        tcp(peer, client, address(FREE, v4), 80, Tcp::Ack)
    });
    let free = Case::new("not isolated", v4, RunProgram::ToPod, it.free, &to_free)?;
    let mut cases = vec![
        Case { counted: Some((PodId::new("bench", "free"), Direction::Ingress)), ..free },
        it.to_subject("allowed by pod selector", 1, (Tcp::Ack, 80), true, |at| it.peer(at))?,
        it.to_subject("allowed by pod selector", FLOWS, (Tcp::Ack, 80), true, |at| it.peer(at))?,
        it.to_subject("allowed by pod selector", MANY, (Tcp::Ack, 80), true, |at| it.peer(at))?,
        it.to_subject("allowed by ipBlock", FLOWS, (Tcp::Ack, 80), true, |at| it.block(at))?,
        it.to_subject("denied SYN, source", FLOWS, (Tcp::Syn, 80), false, |at| it.stranger(at))?,
        it.to_subject("denied SYN, port", FLOWS, (Tcp::Syn, 81), false, |at| it.peer(at))?,
        it.to_subject("denied ACK, source", FLOWS, (Tcp::Ack, 80), false, |at| it.stranger(at))?,
        it.to_subject("denied ACK, port", FLOWS, (Tcp::Ack, 81), false, |at| it.peer(at))?,
    ];
    for flow in 0..REPLIES {
        let (server, client) = it.block(flow);
        establish(rig, [own, server], client)?;
    }
    for flows in [1, FLOWS, REPLIES] {
        let replies = frames(flows, |flow| {
            let (server, client) = it.block(flow);
            tcp(server, 443, own, client, Tcp::Ack)
        });
        let name = "reply by the flow table";
        cases.push(Case::new(name, v4, RunProgram::ToPod, it.subject, &replies)?);
    }
    let to_block = |flow, client, kind| tcp(own, client, outside(flow, v4, true), 443, kind);
    cases.push(
        it.of_subject("answer of the pod", FLOWS, |flow| to_block(flow, client(flow), Tcp::Ack))?,
    );
    let first = it
        .of_subject("first packet, writes a flow", FLOWS, |flow| to_block(flow, 1_000, Tcp::Syn))?;
    let packets = Packets { port_step: 1, ..first.packets };
    cases.push(Case { packets, ..first });
    cases.extend(translated(rig, &it)?);
    Ok(cases)
}

/// The cases of address translation: both hooks of a pod's packet to a Service, a masqueraded
/// outside client, and the uplinks.
fn translated(rig: &mut Rig, it: &Scene) -> anyhow::Result<Vec<Case>> {
    let v4 = it.v4;
    let ack = |source: IpAddr, flow: u32, destination: IpAddr, port: u16| {
        tcp(source, client(flow), destination, port, Tcp::Ack)
    };
    let (own, node, service) = (it.own(), address(NODE, v4), address(SERVICE, v4));
    let block = |flow| outside(flow, v4, true);
    let pod = PodId::new("bench", "subject");
    let pending = rig.judge(&pod, Direction::Egress, &ack(own, 0, service, 80))?.mark;
    for flow in 0..FLOWS {
        rig.judge(&pod, Direction::Egress, &tcp(own, client(flow), service, 80, Tcp::Syn))?;
    }
    let entered = ack(block(0), 0, node, 30_080);
    let case = |name, program, ifindex, mark, frame: &dyn Fn(u32) -> Vec<u8>| {
        let case = Case::new(name, v4, program, ifindex, &frames(FLOWS, frame))?;
        anyhow::Ok(Case { mark, ..case })
    };
    let (from_pod, to_pod) = (RunProgram::FromPod, RunProgram::ToPod);
    let to_service = |flow| ack(own, flow, service, 80);
    let to_block = |flow| ack(own, flow, block(flow), 80);
    let backend = address(FREE, v4);
    let to_backend = |flow| ack(own, flow, backend, 80);
    let masqueraded =
        case("masqueraded client, allowed by ipBlock", to_pod, it.subject, 0, &|flow| {
            ack(node, flow, own, 80)
        })?;
    Ok(vec![
        case("to a Service, left open", from_pod, it.subject, 0, &to_service)?,
        case("to a Service, judged at the backend", to_pod, it.free, pending, &to_backend)?,
        Case { entered: Some(entered), ..masqueraded },
        case("comes in at an uplink", RunProgram::FromWire, it.free, 0, &|flow| {
            ack(block(flow), flow, own, 80)
        })?,
        case("leaves by an uplink, nothing open", RunProgram::ToWire, it.free, OUTSIDE, &to_block)?,
    ])
}

/// The mark of a packet that entered from outside, of an unknown client.
const OUTSIDE: u64 = (Mark::UNKNOWN.0 as u64) << 17;

/// The packets of a case, by the number of their flow.
fn frames(flows: u32, frame: impl Fn(u32) -> Vec<u8>) -> Vec<Vec<u8>> {
    (0..flows).map(frame).collect()
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
