//! The two directions of a pod's interface, as types: the verdict is compiled once for each.

use enforcer_ebpf::contract::endpoint::{Endpoint, flags};
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_ebpf::packet::Packet;

/// One direction of an endpoint's policy.
pub(crate) trait Hook {
    /// The direction.
    const DIRECTION: Direction;
    /// The endpoint's flag: some policy isolates the pod in this direction.
    const ISOLATED: u32;
    /// The endpoint's flag: the direction is closed.
    const CLOSED: u32;
    /// The other direction.
    type Opposite: Hook;
    /// The first cell of the endpoint's row.
    fn row(endpoint: &Endpoint) -> u32;
    /// The other end's address.
    fn peer<A: Copy>(packet: &Packet<A>) -> A;
}

/// Packets to the pod: ingress policy.
pub(crate) struct ToPod;
/// Packets from the pod: egress policy.
pub(crate) struct FromPod;

impl Hook for ToPod {
    const DIRECTION: Direction = Direction::Ingress;
    const ISOLATED: u32 = flags::INGRESS_ISOLATED;
    const CLOSED: u32 = flags::INGRESS_CLOSED;
    type Opposite = FromPod;

    #[inline(always)]
    fn row(endpoint: &Endpoint) -> u32 {
        endpoint.ingress_row
    }

    #[inline(always)]
    fn peer<A: Copy>(packet: &Packet<A>) -> A {
        packet.source
    }
}

impl Hook for FromPod {
    const DIRECTION: Direction = Direction::Egress;
    const ISOLATED: u32 = flags::EGRESS_ISOLATED;
    const CLOSED: u32 = flags::EGRESS_CLOSED;
    type Opposite = ToPod;

    #[inline(always)]
    fn row(endpoint: &Endpoint) -> u32 {
        endpoint.egress_row
    }

    #[inline(always)]
    fn peer<A: Copy>(packet: &Packet<A>) -> A {
        packet.destination
    }
}
