//! The verdict on one packet: policy first, state second.
//!
//! The order of the questions is the order of the rules in semantics.md: what is always allowed
//! (A2, A4, A1), who may have sent it (P4), what policy says (S4), whether it is a reply (A3).

use enforcer_ebpf::classify;
use enforcer_ebpf::count::{Direction, Reason};
use enforcer_ebpf::endpoint::{Endpoint, flags};
use enforcer_ebpf::entry::{Cell, Entry};
use enforcer_ebpf::mark::{Mark, Pending};
use enforcer_ebpf::packet::{Packet, role};

use crate::family::{Family, owns};
use crate::far::{Far, HIDDEN_PORT, far_end};
use crate::frame::Frame;
use crate::maps::KernelTables;
use crate::state;

/// One direction of an endpoint's policy.
pub(crate) trait Hook {
    const DIRECTION: Direction;
    const ISOLATED: u32;
    const CLOSED: u32;
    type Opposite: Hook;
    fn row(endpoint: &Endpoint) -> u32;
    /// The other end's address.
    fn peer<A: Copy>(packet: &Packet<A>) -> A;
}

/// Packets to the pod.
pub(crate) struct ToPod;
/// Packets from the pod.
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

/// Whether anything isolates the endpoint.
#[inline(always)]
pub(crate) fn is_isolated(endpoint: &Endpoint) -> bool {
    const ANY: u32 = flags::INGRESS_ISOLATED
        | flags::EGRESS_ISOLATED
        | flags::INGRESS_CLOSED
        | flags::EGRESS_CLOSED;
    endpoint.flags & ANY != 0
}

/// Judges a packet that could be read.
#[inline(always)]
pub(crate) fn judge<H: Hook, F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
) -> Reason {
    if F::is_link(packet) {
        return Reason::Link;
    }
    if matches!(H::DIRECTION, Direction::Ingress) && frame.mark().sender() == endpoint.id {
        return Reason::Itself;
    }
    if matches!(H::DIRECTION, Direction::Egress) && is_spoofed::<F>(endpoint, packet) {
        return Reason::SpoofedSource;
    }
    if endpoint.flags & (H::ISOLATED | H::CLOSED) == 0 {
        state::record::<F>(endpoint, H::DIRECTION, packet);
        return Reason::NotIsolated;
    }
    let far = far_end::<H, F>(frame, packet);
    if matches!(H::DIRECTION, Direction::Egress) {
        if owns::<F>(endpoint, &packet.destination) {
            return Reason::Itself;
        }
        if far.entry.may_hide_another() {
            return open::<F>(frame, endpoint, packet, far);
        }
    }
    let reason = by_policy::<H, F>(endpoint, packet, far.entry);
    if packet.role & role::FRAGMENT != 0 {
        return reason;
    }
    match reason {
        Reason::Policy => state::record::<F>(endpoint, H::DIRECTION, packet),
        Reason::Denied | Reason::Unrepresented | Reason::UnknownPod
            if answers::<H, F>(frame, endpoint, packet, far) =>
        {
            if packet.role & role::FIRST_FRAGMENT != 0 {
                state::remember_fragments::<F>(endpoint, H::DIRECTION, packet, Reason::Reply);
            }
            return Reason::Reply;
        }
        _ => {}
    }
    reason
}

/// What policy alone says, of later fragments by what it said of the first (semantics P2).
#[inline(always)]
pub(crate) fn by_policy<H: Hook, F: Family>(
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
    entry: Entry,
) -> Reason {
    let reason = policy::<H, F>(endpoint, packet, entry);
    if packet.role & role::FRAGMENT != 0 && reason.is_drop() {
        return state::first_fragment::<F>(endpoint, H::DIRECTION, packet).unwrap_or(reason);
    }
    if packet.role & role::FIRST_FRAGMENT != 0 && !reason.is_drop() {
        state::remember_fragments::<F>(endpoint, H::DIRECTION, packet, reason);
    }
    reason
}

/// A packet from an egress-isolated pod to the node or to a Service. What it is to the node stays
/// allowed (semantics A2); who gets it after translation is judged when that is known (N1).
#[inline(always)]
fn open<F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
    far: Far,
) -> Reason {
    if packet.role & role::ERROR != 0 && is_related::<FromPod, F>(frame, endpoint, packet) {
        return Reason::Reply;
    }
    // Only the node's addresses stand for clients, never a Service's.
    if far.entry.is_node() && is_known_reply::<FromPod, F>(endpoint, packet) {
        frame.set_mark(Mark::pod(endpoint.id, Pending::Reply));
        return Reason::Reply;
    }
    frame.set_mark(Mark::pod(endpoint.id, Pending::Egress));
    state::record::<F>(endpoint, Direction::Egress, packet);
    if far.entry.is_node() { Reason::Node } else { Reason::Service }
}

/// Whether a pod sends from an address that is not its own (semantics P4).
#[inline(always)]
fn is_spoofed<F: Family>(endpoint: &Endpoint, packet: &Packet<F::Address>) -> bool {
    endpoint.flags & flags::CHECK_SOURCE != 0
        && !owns::<F>(endpoint, &packet.source)
        && !F::is_exempt(packet)
}

/// Whether the packet is a reply, or an ICMP error about a packet of a flow (semantics A3).
#[inline(always)]
fn answers<H: Hook, F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
    far: Far,
) -> bool {
    is_reply::<H, F>(endpoint, packet, far)
        || (packet.role & role::ERROR != 0 && is_related::<H, F>(frame, endpoint, packet))
}

/// What policy alone says of a forward packet in a direction that is isolated.
#[inline(always)]
fn policy<H: Hook, F: Family>(
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
    entry: Entry,
) -> Reason {
    if endpoint.flags & H::CLOSED != 0 {
        return closed(endpoint);
    }
    let Some(cell) = classify::cell(&KernelTables, H::row(endpoint), entry.index()) else {
        return Reason::Denied;
    };
    if packet.role & role::FRAGMENT != 0 {
        // No ports to be seen: only what is allowed whatever the ports is sure to pass.
        return match cell {
            Cell::ALLOW => Reason::Policy,
            _ => Reason::Fragment,
        };
    }
    if classify::cell_allows(&KernelTables, cell, packet.protocol, packet.destination_port) {
        Reason::Policy
    } else {
        Reason::Denied
    }
}

/// Why a direction is closed.
#[inline(always)]
fn closed(endpoint: &Endpoint) -> Reason {
    if endpoint.flags & flags::NO_POD != 0 { Reason::UnknownPod } else { Reason::Unrepresented }
}

/// Whether this direction's policy allows `port` of the peer or pod: what made a flow legitimate
/// must still hold (semantics C2). `entry`: what is known of the peer's address.
#[inline(always)]
pub(crate) fn forward_allows<H: Hook>(
    endpoint: &Endpoint,
    entry: Entry,
    protocol: u8,
    port: u32,
) -> bool {
    if endpoint.flags & (H::ISOLATED | H::CLOSED) == 0 {
        return true;
    }
    if matches!(H::DIRECTION, Direction::Egress) && entry.is_node() {
        return true;
    }
    if endpoint.flags & H::CLOSED != 0 {
        return false;
    }
    match classify::cell(&KernelTables, H::row(endpoint), entry.index()) {
        Some(cell) if port == HIDDEN_PORT => classify::cell_allows_some(cell),
        Some(cell) => classify::cell_allows(&KernelTables, cell, protocol, port as u16),
        None => false,
    }
}

/// Whether the packet is of a living flow that the other end of this direction began.
#[inline(always)]
fn is_known_reply<H: Hook, F: Family>(endpoint: &Endpoint, packet: &Packet<F::Address>) -> bool {
    if packet.role & role::ANSWERS == 0 {
        return false;
    }
    let key = state::key::<F>(endpoint, H::DIRECTION, packet);
    let Some(flow) = state::touch::<F>(&key, packet.protocol, state::now()) else { return false };
    flow.is_begun(<H::Opposite as Hook>::DIRECTION)
}

/// Whether the packet answers a living flow whose forward packets policy still allows.
#[inline(always)]
fn is_reply<H: Hook, F: Family>(
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
    far: Far,
) -> bool {
    is_known_reply::<H, F>(endpoint, packet)
        && forward_allows::<H::Opposite>(endpoint, far.entry, packet.protocol, far.port)
}

/// Whether an ICMP error quotes a packet of a living flow (semantics A3). The quoted packet
/// travelled the opposite way: what a pod sent comes back to it, and the reverse.
#[inline(always)]
fn is_related<H: Hook, F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
) -> bool {
    let Some(quoted) = F::quoted(frame, packet) else { return false };
    let (own, remote) = match H::DIRECTION {
        Direction::Ingress => (quoted.source, quoted.destination),
        Direction::Egress => (quoted.destination, quoted.source),
    };
    if !owns::<F>(endpoint, &own) {
        return false;
    }
    let direction = <H::Opposite as Hook>::DIRECTION;
    let key = state::quoted_key::<F>(endpoint, direction, &quoted);
    let Some(flow) = state::touch::<F>(&key, quoted.protocol, state::now()) else { return false };
    let entry = F::entry(&remote);
    // Who is behind the address of a Service or of the node, an error does not tell.
    if entry.may_hide_another() {
        return true;
    }
    if flow.is_begun(direction) {
        // The quoted packet was a forward packet…
        let port = u32::from(quoted.destination_port);
        forward_allows::<H::Opposite>(endpoint, entry, quoted.protocol, port)
    } else {
        // … or a reply.
        let port = u32::from(quoted.source_port);
        forward_allows::<H>(endpoint, entry, quoted.protocol, port)
    }
}
