//! An attempted connection, and its packets.

use std::net::IpAddr;

use enforcer_core::model::{Cluster, PodId};
use enforcer_core::policy::reference::Traffic;
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_tests::frame::{Frame, Transport};
use proptest::prelude::RngExt as _;
use proptest::test_runner::TestRng;

/// An attempted connection.
#[derive(Clone)]
pub(crate) struct Tried {
    pub pod: PodId,
    pub direction: Direction,
    pub own: IpAddr,
    pub peer: IpAddr,
    pub traffic: Traffic,
    /// The port at the opener's end, or an ICMP identifier.
    pub port: u16,
    /// Whether traffic without ports is GRE; else it is an echo request.
    pub gre: bool,
    /// The seed of its frames' extra headers.
    pub dress: u64,
    pub allowed: bool,
}

impl Tried {
    /// Whether it leaves a flow: the node's and the pod's own traffic does not (A1, A2).
    pub(crate) fn leaves_a_flow(&self, cluster: &Cluster) -> bool {
        self.allowed && !is_own_or_node(cluster, &self.pod, self.peer)
    }
}

pub(crate) fn is_own_or_node(cluster: &Cluster, pod: &PodId, peer: IpAddr) -> bool {
    cluster.node_addresses.contains(&peer) || cluster.pods[pod].addresses.contains(&peer)
}

/// A protocol without ports that is not ICMP: GRE (RFC 2784).
const GRE: u8 = 47;

pub(crate) fn opening(it: &Tried) -> Transport {
    match it.traffic {
        Traffic::Port(protocol, port) => Transport::open(protocol, it.port, port),
        Traffic::Portless if it.gre => Transport::Other(GRE),
        Traffic::Portless => Transport::echo(it.port, false),
    }
}

pub(crate) fn answer(it: &Tried) -> Transport {
    match it.traffic {
        Traffic::Port(protocol, port) => Transport::answer(protocol, port, it.port),
        Traffic::Portless if it.gre => Transport::Other(GRE),
        Traffic::Portless => Transport::echo(it.port, true),
    }
}

/// A frame with random options, extension headers and VLAN tags (semantics P1, P6).
pub(crate) fn dressed(
    it: &Tried,
    direction: Direction,
    transport: Transport,
    rng: &mut TestRng,
) -> Frame {
    let (source, destination) = match direction {
        Direction::Ingress => (it.peer, it.own),
        Direction::Egress => (it.own, it.peer),
    };
    let mut frame = Frame::new(source, destination, transport);
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
