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

use crate::answer::answers;
use crate::family::{Family, owns};
use crate::far::{HIDDEN_PORT, far_end};
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
    if matches!(H::DIRECTION, Direction::Egress) && owns::<F>(endpoint, &packet.destination) {
        return Reason::Itself;
    }
    // What goes to the node stays allowed (semantics A2); who gets it after translation, or what
    // goes to a Service, is judged when that is known (N1).
    let open = matches!(H::DIRECTION, Direction::Egress) && far.entry.may_hide_another();
    let reason = match (open, far.entry.is_node()) {
        (false, _) => by_policy::<H, F>(endpoint, packet, far.entry),
        (true, true) => Reason::Node,
        (true, false) => Reason::Service,
    };
    // One place for each of the two ways to the flow table: the verifier follows every copy.
    if may_answer(reason, open, packet.role) && answers::<H, F>(frame, endpoint, packet, far, open)
    {
        if open && packet.role & role::ANSWERS != 0 {
            frame.set_mark(Mark::pod(endpoint.id, Pending::Reply));
        } else if packet.role & role::FIRST_FRAGMENT != 0 {
            state::remember_fragments::<F>(endpoint, H::DIRECTION, packet, Reason::Reply);
        }
        return Reason::Reply;
    }
    if open {
        frame.set_mark(Mark::pod(endpoint.id, Pending::Egress));
    }
    if !reason.is_drop() && packet.role & role::FRAGMENT == 0 {
        state::record::<F>(endpoint, H::DIRECTION, packet);
    }
    reason
}

/// Whether the packet might be more than policy takes it for: a reply, or an error.
#[inline(always)]
fn may_answer(reason: Reason, open: bool, role: u8) -> bool {
    if role & role::FRAGMENT != 0 {
        return false;
    }
    match reason {
        Reason::Denied | Reason::Unrepresented | Reason::UnknownPod => true,
        Reason::Node => open,
        // Only the node's addresses stand for clients, never a Service's.
        Reason::Service => role & role::ERROR != 0,
        _ => false,
    }
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

/// Whether a pod sends from an address that is not its own (semantics P4).
#[inline(always)]
fn is_spoofed<F: Family>(endpoint: &Endpoint, packet: &Packet<F::Address>) -> bool {
    endpoint.flags & flags::CHECK_SOURCE != 0
        && !owns::<F>(endpoint, &packet.source)
        && !F::is_exempt(packet)
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
