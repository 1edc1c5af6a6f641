//! The measured kinds of packets.

use std::collections::BTreeMap;
use std::net::IpAddr;

use enforcer::kernel::RunProgram;
use enforcer_core::model::PodId;
use enforcer_ebpf::contract::counters::Counters;
use enforcer_ebpf::contract::mark::Mark;
use enforcer_ebpf::contract::verdict::{Direction, Reason};

use super::cluster::{FIRST_PEER, FREE, NODE, SERVICE, SUBJECT, Shape, address, cluster, outside};
use super::rotator::Packets;
use super::target::{Stop, Target};
use crate::frame::{Frame, Tcp, Transport};

/// The numbers of flows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flows {
    /// Of most cases.
    pub(super) common: u32,
    /// Of the cases of established connections; the last one is the greatest.
    pub(super) established: &'static [u32],
    /// Of the cases of replies, likewise.
    pub(super) replies: &'static [u32],
}

impl Flows {
    /// The flows that tables need room for: those of all cases, and new ones.
    pub(super) fn room(&self) -> u32 {
        let last = |of: &[u32]| of.last().copied().unwrap_or_default();
        last(self.established) + last(self.replies) + (1 << 17)
    }
}

/// A measured kind of packet.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) family: u8,
    pub(super) stop: Stop,
    pub(super) passes: bool,
    /// The packet as it entered the node: each round notes its sender again and takes its mark.
    pub(super) entered: Option<Vec<u8>>,
    pub(super) packets: Packets,
    /// The pod and the direction whose drops are counted.
    pub(super) counted: Option<(PodId, Direction)>,
}

impl Case {
    fn new(
        name: &'static str,
        v4: bool,
        (program, ifindex): (RunProgram, u32),
        frames: impl Iterator<Item = Vec<u8>>,
    ) -> anyhow::Result<Self> {
        let (passes, entered, counted) = (true, None, None);
        // What reaches a pod has passed another hook.
        let mark = if program == RunProgram::ToPod { OUTSIDE } else { 0 };
        let family = if v4 { 4 } else { 6 };
        let (packets, stop) = (Packets::new(frames)?, Stop { program, ifindex, mark });
        Ok(Self { name, family, stop, passes, entered, packets, counted })
    }
}

/// Where the packet of [`Case::entered`] enters the node.
pub(super) const ENTRY: Stop = Stop { program: RunProgram::FromWire, ifindex: 1, mark: 0 };

/// The drops among the counters of a direction.
pub(super) fn drops(counters: &Counters, direction: Direction) -> u64 {
    let drops = Reason::ALL.into_iter().filter(|reason| reason.is_drop());
    let counts = counters.counts.get(direction as usize);
    drops.filter_map(|reason| Some(counts?.get(reason as usize)?.packets)).sum()
}

/// Programs the tables and makes the packets. `interfaces`: of the subject, and of the other pod.
pub(super) fn prepare(
    target: &mut impl Target,
    interfaces: [u32; 2],
    shape: Shape,
    flows: Flows,
) -> anyhow::Result<Vec<Case>> {
    let pods = ["subject", "free"].map(|name| PodId::new("bench", name));
    let at: BTreeMap<PodId, u32> = pods.into_iter().zip(interfaces).collect();
    target.program(&cluster(shape), at)?;
    let mut cases = Vec::new();
    for v4 in [true, false] {
        let [subject, free] = interfaces;
        let peers = u32::try_from(shape.peers).unwrap_or(u32::MAX);
        let scene = Scene { v4, subject, free, peers, flows };
        cases.extend(scene.to_pods()?);
        cases.extend(scene.of_flows(target)?);
        cases.extend(scene.translated(target)?);
    }
    // Last, since they overwrite the remembered outside clients.
    cases.sort_by_key(|case| case.stop.program == RunProgram::FromWire);
    Ok(cases)
}

/// The pods' interfaces, and the ends of packets.
struct Scene {
    v4: bool,
    subject: u32,
    free: u32,
    peers: u32,
    flows: Flows,
}

impl Scene {
    fn own(&self) -> IpAddr {
        address(SUBJECT, self.v4)
    }

    /// The address and port of a flow's other end: spread over all peers.
    fn peer(&self, flow: u32) -> (IpAddr, u16) {
        let peers = u64::from(self.peers);
        let number = u32::try_from(u64::from(flow) * 7_919 % peers).unwrap_or_default();
        (address(FIRST_PEER + number, self.v4), client(flow / self.peers))
    }

    /// Whether there are so many different ends at all.
    fn has(&self, flows: u32) -> bool {
        u64::from(flows) <= u64::from(self.peers) * u64::from(CLIENT_PORTS)
    }

    fn block(&self, flow: u32) -> (IpAddr, u16) {
        (outside(flow, self.v4, true), client(flow))
    }

    fn stranger(&self, flow: u32) -> (IpAddr, u16) {
        (outside(flow, self.v4, false), client(flow))
    }

    /// A case of packets to the subject.
    fn to_subject(
        &self,
        name: &'static str,
        flows: u32,
        passes: bool,
        frame: impl Fn(u32) -> Vec<u8>,
    ) -> anyhow::Result<Case> {
        let at = (RunProgram::ToPod, self.subject);
        let case = Case::new(name, self.v4, at, (0..flows).map(frame))?;
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
        let at = (RunProgram::FromPod, self.subject);
        let case = Case::new(name, self.v4, at, (0..flows).map(frame))?;
        let counted = Some((PodId::new("bench", "subject"), Direction::Egress));
        Ok(Case { counted, ..case })
    }

    /// Segments from `other` to a port of the subject.
    fn segment(&self, (other, port): (IpAddr, u16), to: u16, kind: Tcp) -> Vec<u8> {
        tcp(other, port, self.own(), to, kind)
    }

    /// Packets to pods, most of which touch no flow.
    fn to_pods(&self) -> anyhow::Result<Vec<Case>> {
        let common = self.flows.common;
        let free_address = address(FREE, self.v4);
        let to_free = (0..common).map(|flow| {
            let (peer, port) = self.peer(flow);
            tcp(peer, port, free_address, 80, Tcp::Ack)
        });
        let free = Case::new("not isolated", self.v4, (RunProgram::ToPod, self.free), to_free)?;
        let datagrams = (0..common).map(|flow| {
            let (peer, port) = self.peer(flow);
            Frame::new(peer, free_address, Transport::Udp(port, 53)).build().bytes
        });
        let at_free = (RunProgram::ToPod, self.free);
        let datagrams = Case::new("UDP, not isolated", self.v4, at_free, datagrams)?;
        let counted = || Some((PodId::new("bench", "free"), Direction::Ingress));
        let denied = |name, from: &dyn Fn(u32) -> (IpAddr, u16), port, kind| {
            self.to_subject(name, common, false, |at| self.segment(from(at), port, kind))
        };
        let datagram = |flow| {
            let (other, port) = self.stranger(flow);
            Frame::new(other, self.own(), Transport::Udp(port, 53)).build().bytes
        };
        Ok(vec![
            Case { counted: counted(), ..free },
            Case { counted: counted(), ..datagrams },
            self.to_subject("allowed by ipBlock", common, true, |at| {
                self.segment(self.block(at), 80, Tcp::Ack)
            })?,
            denied("denied SYN, source", &|at| self.stranger(at), 80, Tcp::Syn)?,
            denied("denied SYN, port", &|at| self.peer(at), 81, Tcp::Syn)?,
            denied("denied ACK, source", &|at| self.stranger(at), 80, Tcp::Ack)?,
            denied("denied ACK, port", &|at| self.peer(at), 81, Tcp::Ack)?,
            self.to_subject("denied UDP, source", common, false, datagram)?,
        ])
    }

    /// Packets of established connections, whose flows are in the tables, and new flows.
    fn of_flows(&self, target: &mut impl Target) -> anyhow::Result<Vec<Case>> {
        let own = self.own();
        let mut cases = Vec::new();
        let most = |of: &[u32]| of.iter().copied().filter(|it| self.has(*it)).max();
        if let Some(flows) = most(self.flows.established) {
            let other = |flow| self.peer(flow);
            self.establish(target, flows, Opened { by: Direction::Ingress, port: 80 }, &other)?;
        }
        for flows in self.flows.established.iter().filter(|it| self.has(**it)) {
            cases.push(self.to_subject("allowed by pod selector", *flows, true, |at| {
                self.segment(self.peer(at), 80, Tcp::Ack)
            })?);
        }
        if let Some(flows) = self.flows.replies.last() {
            let other = |flow| self.block(flow);
            self.establish(target, *flows, Opened { by: Direction::Egress, port: 443 }, &other)?;
        }
        for flows in self.flows.replies {
            cases.push(self.to_subject("reply by the flow table", *flows, true, |at| {
                let (server, port) = self.block(at);
                tcp(server, 443, own, port, Tcp::Ack)
            })?);
        }
        let to_block = |flow: u32, port, kind| tcp(own, port, self.block(flow).0, 443, kind);
        for flows in self.flows.replies {
            cases.push(self.of_subject("segment of the pod", *flows, |flow| {
                to_block(flow, client(flow), Tcp::Ack)
            })?);
        }
        let common = self.flows.common;
        let out = |flow| to_block(flow, 1_000, Tcp::Syn);
        // The ports of each peer; the next turn takes as many others.
        let ports = u16::try_from(common.div_ceil(self.peers))?;
        let port = |flow: u32| 1_000 + u16::try_from(flow / self.peers).unwrap_or_default();
        let into = |flow| self.segment((self.peer(flow).0, port(flow)), 80, Tcp::Syn);
        for (first, port_step) in [
            (self.of_subject("first packet of the pod, writes a flow", common, out)?, 1),
            (self.to_subject("first packet to the pod, writes a flow", common, true, into)?, ports),
        ] {
            let packets = Packets { port_step, ..first.packets };
            cases.push(Case { packets, ..first });
        }
        Ok(cases)
    }

    /// Performs handshakes, and one segment of each end behind them.
    fn establish(
        &self,
        target: &mut impl Target,
        flows: u32,
        opened: Opened,
        other: &dyn Fn(u32) -> (IpAddr, u16),
    ) -> anyhow::Result<()> {
        let own = self.own();
        let opposite = match opened.by {
            Direction::Ingress => Direction::Egress,
            Direction::Egress => Direction::Ingress,
        };
        for (direction, kind) in [
            (opened.by, Tcp::Syn),
            (opposite, Tcp::SynAck),
            (opened.by, Tcp::Ack),
            (opposite, Tcp::Ack),
        ] {
            let frame = |flow| {
                let (address, client) = other(flow);
                let (to_client, server) = (direction != opened.by, opened.port);
                let (from, to) = if to_client { (server, client) } else { (client, server) };
                match direction {
                    Direction::Egress => tcp(own, from, address, to, kind),
                    Direction::Ingress => tcp(address, from, own, to, kind),
                }
            };
            let case = match direction {
                Direction::Egress => self.of_subject("handshake", flows, frame)?,
                Direction::Ingress => self.to_subject("handshake", flows, true, frame)?,
            };
            target.all(case.stop, &case.packets)?;
        }
        Ok(())
    }

    /// The cases of address translation: both hooks of a pod's packet to a Service, a masqueraded
    /// outside client, and the uplinks.
    fn translated(&self, target: &mut impl Target) -> anyhow::Result<Vec<Case>> {
        let (v4, common) = (self.v4, self.flows.common);
        let ack = |source: IpAddr, flow: u32, destination: IpAddr, port: u16| {
            tcp(source, client(flow), destination, port, Tcp::Ack)
        };
        let (own, node, service) = (self.own(), address(NODE, v4), address(SERVICE, v4));
        let from_pod = (RunProgram::FromPod, self.subject);
        let leaves = Stop { program: RunProgram::FromPod, ifindex: self.subject, mark: 0 };
        let opening = (0..common).map(|flow| tcp(own, client(flow), service, 80, Tcp::Syn));
        target.all(leaves, &Packets::new(opening)?)?;
        let pending = target.pass(leaves, &ack(own, 0, service, 80))?;
        let entered = ack(self.block(0).0, 0, node, 30_080);
        let case = |name, at, mark, frame: &dyn Fn(u32) -> Vec<u8>| {
            let case = Case::new(name, v4, at, (0..common).map(frame))?;
            anyhow::Ok(Case { stop: Stop { mark, ..case.stop }, ..case })
        };
        let (to_free, backend) = ((RunProgram::ToPod, self.free), address(FREE, v4));
        let [enters, exits] = [RunProgram::FromWire, RunProgram::ToWire].map(|it| (it, self.free));
        let masqueraded = case(
            "masqueraded client, allowed by ipBlock",
            (RunProgram::ToPod, self.subject),
            0,
            &|flow| ack(node, flow, own, 80),
        )?;
        Ok(vec![
            case("to a Service, left open", from_pod, 0, &|flow| ack(own, flow, service, 80))?,
            case("to a Service, judged at the backend", to_free, pending, &|flow| {
                ack(own, flow, backend, 80)
            })?,
            Case { entered: Some(entered), ..masqueraded },
            case("comes in at an uplink", enters, 0, &|flow| {
                ack(self.block(flow).0, flow, own, 80)
            })?,
            case("leaves by an uplink, nothing open", exits, OUTSIDE, &|flow| {
                ack(own, flow, self.block(flow).0, 80)
            })?,
        ])
    }
}

/// Which end opens connections, and the server's port.
#[derive(Debug, Clone, Copy)]
struct Opened {
    by: Direction,
    port: u16,
}

/// The mark of a packet that entered from outside, of an unknown client.
const OUTSIDE: u64 = (Mark::UNKNOWN.0 as u64) << 17;

fn tcp(source: IpAddr, from: u16, destination: IpAddr, to: u16, kind: Tcp) -> Vec<u8> {
    Frame::new(source, destination, Transport::Tcp(from, to, kind)).build().bytes
}

/// Ports of clients.
const CLIENT_PORTS: u16 = 20_000;

fn client(it: u32) -> u16 {
    40_000 + u16::try_from(it % u32::from(CLIENT_PORTS)).unwrap_or_default()
}
