//! The verdict on one packet: policy first, state second.
//!
//! The order of the questions is the order of the rules of the semantics: what is always allowed
//! (A2, A4, A1), whether the source is the pod's own (P4), what policy allows (S4), whether the
//! packet is a reply (A3).

use enforcer_ebpf::contract::endpoint::{Endpoint, Order, flags};
use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::lookup;
use enforcer_ebpf::contract::mark::{Deferred, Mark};
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use enforcer_ebpf::packet::{Packet, protocol, role};

use crate::program::family::{Family, owns};
use crate::program::frame::Frame;
use crate::program::hook::{FromPod, Hook};
use crate::program::maps::KernelTables;
use crate::program::remote::remote;
use crate::program::reply::is_reply;
use crate::program::{fragment_table, policy};

/// The roles of the fragments of a packet.
const PIECE: u8 = role::FRAGMENT | role::FIRST_FRAGMENT;

/// The verdict on a packet that could be parsed, and its reason. Whether its flow is recorded is
/// the caller's part.
#[inline(always)]
pub(crate) fn judge<H: Hook, F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
) -> Reason {
    if matches!(H::DIRECTION, Direction::Egress) {
        if is_spoofed::<F>(endpoint, packet) {
            return Reason::SpoofedSource;
        }
        if is_encapsulated(packet) && F::entry(endpoint.order(), &packet.destination).is_node() {
            return Reason::Encapsulated;
        }
    } else if !is_addressed_to::<F>(frame, endpoint, &packet.destination) {
        return Reason::WrongDestination;
    }
    if matches!(H::DIRECTION, Direction::Ingress) && frame.mark().sender() == endpoint.id {
        return Reason::Itself;
    }
    if endpoint.flags & (H::ISOLATED | H::CLOSED) == 0 {
        return Reason::NotIsolated;
    }
    let remote = remote::<H, F>(frame, endpoint.order(), packet);
    let remote = match H::DIRECTION {
        Direction::Ingress => remote.merged(frame),
        Direction::Egress => remote,
    };
    if matches!(H::DIRECTION, Direction::Egress) && owns::<F>(endpoint, &packet.destination) {
        return Reason::Itself;
    }
    // Packets to the node stay allowed (semantics A2). Where translation may send them, or those
    // to a Service, is known to a later hook, which decides (N1).
    // So is the receiver behind a link-local address: it has others, which policy knows.
    let neighbour = F::is_link_local(&packet.destination);
    let open =
        matches!(H::DIRECTION, Direction::Egress) && (remote.entry.may_hide_another() || neighbour);
    // The pieces of a packet are its sender's: translation gives several senders one address.
    let sent = match H::DIRECTION {
        Direction::Ingress => Packet { source: remote.address, ..*packet },
        Direction::Egress => *packet,
    };
    let reason = match (open, remote.entry.is_node() || neighbour) {
        (false, _) => match policy::verdict::<H, F>(endpoint, &sent, remote.entry) {
            // Nobody knows whose pieces an unknown sender's are.
            reason if !remote.is_known && (reason.is_drop() || packet.role & PIECE != 0) => {
                Reason::MarkLost
            }
            reason => reason,
        },
        (true, true) => Reason::Node,
        (true, false) => Reason::Service,
    };
    // One call for both ways to the flow table: the verifier follows every copy.
    if may_be_reply(reason, open, remote.entry, packet.role)
        && is_reply::<H, F>(frame, endpoint, packet, remote, open)
    {
        if open {
            frame.set_mark(Mark::pod(endpoint.id, Deferred::Reply));
        } else if packet.role & role::FIRST_FRAGMENT != 0 {
            fragment_table::remember::<F>(endpoint, H::DIRECTION, &sent, Reason::Reply);
        }
        return Reason::Reply;
    }
    if open {
        frame.set_mark(Mark::pod(endpoint.id, Deferred::Egress));
    }
    reason
}

/// Whether a packet with this verdict of policy may still be a reply, or an ICMP error.
#[inline(always)]
fn may_be_reply(reason: Reason, open: bool, entry: Entry, role: u8) -> bool {
    if role & role::FRAGMENT != 0 {
        return false;
    }
    match reason {
        Reason::Denied | Reason::Unrepresented | Reason::UnknownPod => true,
        Reason::Node => open,
        // A Service's own addresses stand for no client, but a tenant may have chosen a client's.
        Reason::Service => role & role::ERROR != 0 || entry.is_external(),
        _ => false,
    }
}

/// Whether a pod sends from an address that is not its own (semantics P4).
#[inline(always)]
fn is_spoofed<F: Family>(endpoint: &Endpoint, packet: &Packet<F::Address>) -> bool {
    endpoint.flags & flags::CHECK_SOURCE != 0
        && !owns::<F>(endpoint, &packet.source)
        && !F::is_exempt(packet)
}

/// Whether the packet is one that the node's tunnel endpoints would unpack: its inner source is
/// anything that the pod likes (semantics P4). GRE, IPIP and SIT by protocol; VXLAN, Geneve and
/// VXLAN-GPE by their ports (IANA), and the one that Linux had before.
#[inline(always)]
pub(crate) fn is_encapsulated<A>(packet: &Packet<A>) -> bool {
    match packet.protocol {
        protocol::IPIP | protocol::SIT | protocol::GRE => true,
        protocol::UDP => matches!(packet.destination_port, 4789 | 4790 | 6081 | 8472),
        _ => false,
    }
}

/// Whether a packet at a pod's interface is meant for the pod: its own address, a group's, or a
/// link-local one. A bridge delivers by hardware address, which its sender chooses (semantics P4).
#[inline(always)]
fn is_addressed_to<F: Family>(frame: &Frame, endpoint: &Endpoint, to: &F::Address) -> bool {
    endpoint.flags & flags::CHECK_SOURCE == 0
        || owns::<F>(endpoint, to)
        || F::is_group(to)
        || F::is_link_local(to)
        || is_broadcast::<F>(frame, to)
}

/// Whether a frame to a group of interfaces carries a packet to a subnet's broadcast address. Which
/// addresses are, the programs don't know: all but those for which from_pod skips policy.
#[inline(always)]
fn is_broadcast<F: Family>(frame: &Frame, to: &F::Address) -> bool {
    // IPv6 has no broadcast (RFC 4291, section 2).
    if F::VERSION == 6 {
        return false;
    }
    // The first byte of the frame's destination.
    if frame.load(0) >> 24 & 1 == 0 || F::entry(Order::NONE, to).may_hide_another() {
        return false;
    }
    match lookup::sender(&KernelTables, frame.mark().sender()) {
        // Policy knows no broadcast addresses: what it allows to this one may be another pod's.
        Some(sender) => {
            sender.flags & (FromPod::ISOLATED | FromPod::CLOSED) == 0 && !owns::<F>(sender, to)
        }
        None => true,
    }
}

/// The reason to drop a packet whose headers can't be parsed, by the part that every header has.
#[inline(always)]
pub(crate) fn by_fixed_header<H: Hook, F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    start: usize,
) -> Option<Reason> {
    if endpoint.flags & flags::CHECK_SOURCE == 0 {
        return None;
    }
    let Some(fixed) = F::fixed(frame, start) else { return Some(Reason::Malformed) };
    match H::DIRECTION {
        Direction::Ingress => (!is_addressed_to::<F>(frame, endpoint, &fixed.destination))
            .then_some(Reason::WrongDestination),
        Direction::Egress if owns::<F>(endpoint, &fixed.source) => {
            // A router advertisement behind more headers than the parser reads (RFC 7113).
            (F::VERSION == 6 && fixed.hop_limit == u8::MAX).then_some(Reason::SpoofedLink)
        }
        Direction::Egress => Some(Reason::SpoofedSource),
    }
}

/// Defers the verdict on an egress-isolated pod's link message to a neighbour's address: if the node
/// routes it, it is none any more, and judged like any packet (semantics A4).
#[inline(always)]
pub(crate) fn defer_link<F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
) {
    let isolated = endpoint.flags & (FromPod::ISOLATED | FromPod::CLOSED) != 0;
    if isolated && !F::is_group(&packet.destination) {
        frame.set_mark(Mark::pod(endpoint.id, Deferred::Egress));
    }
}
