//! The verdict on one packet: policy first, state second.
//!
//! The order of the questions is the order of the rules of the semantics: what is always allowed
//! (A2, A4, A1), whether the source is the pod's own (P4), what policy allows (S4), whether the
//! packet is a reply (A3).

use enforcer_ebpf::contract::endpoint::{Endpoint, flags};
use enforcer_ebpf::contract::mark::{Deferred, Mark};
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use enforcer_ebpf::packet::{Packet, role};

use crate::program::family::{Family, owns};
use crate::program::frame::Frame;
use crate::program::hook::Hook;
use crate::program::remote::remote;
use crate::program::reply::is_reply;
use crate::program::{flow_record, fragment_table, policy};

/// The verdict on a packet that could be parsed, and its reason.
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
        flow_record::record::<F>(endpoint, H::DIRECTION, packet);
        return Reason::NotIsolated;
    }
    let remote = remote::<H, F>(frame, packet);
    if matches!(H::DIRECTION, Direction::Egress) && owns::<F>(endpoint, &packet.destination) {
        return Reason::Itself;
    }
    // Packets to the node stay allowed (semantics A2). Where translation may send them, or those
    // to a Service, is known to a later hook, which decides (N1).
    let open = matches!(H::DIRECTION, Direction::Egress) && remote.entry.may_hide_another();
    let reason = match (open, remote.entry.is_node()) {
        (false, _) => policy::verdict::<H, F>(endpoint, packet, remote.entry),
        (true, true) => Reason::Node,
        (true, false) => Reason::Service,
    };
    // One call for both ways to the flow table: the verifier follows every copy.
    if may_be_reply(reason, open, packet.role)
        && is_reply::<H, F>(frame, endpoint, packet, remote, open)
    {
        if open && packet.role & role::ANSWERS != 0 {
            frame.set_mark(Mark::pod(endpoint.id, Deferred::Reply));
        } else if packet.role & role::FIRST_FRAGMENT != 0 {
            fragment_table::remember::<F>(endpoint, H::DIRECTION, packet, Reason::Reply);
        }
        return Reason::Reply;
    }
    if open {
        frame.set_mark(Mark::pod(endpoint.id, Deferred::Egress));
    }
    if !reason.is_drop() && packet.role & role::FRAGMENT == 0 {
        flow_record::record::<F>(endpoint, H::DIRECTION, packet);
    }
    reason
}

/// Whether a packet with this verdict of policy may still be a reply, or an ICMP error.
#[inline(always)]
fn may_be_reply(reason: Reason, open: bool, role: u8) -> bool {
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

/// Whether a pod sends from an address that is not its own (semantics P4).
#[inline(always)]
fn is_spoofed<F: Family>(endpoint: &Endpoint, packet: &Packet<F::Address>) -> bool {
    endpoint.flags & flags::CHECK_SOURCE != 0
        && !owns::<F>(endpoint, &packet.source)
        && !F::is_exempt(packet)
}
