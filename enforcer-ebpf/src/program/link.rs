//! Link messages at a pod's interface: they pass if a neighbour could have sent them, and from a pod
//! only with its own addresses (semantics A4).

use enforcer_ebpf::contract::endpoint::{Endpoint, flags};
use enforcer_ebpf::contract::lookup;
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use enforcer_ebpf::packet::{self, ARP_LENGTH, LinkMessage, Packet};

use crate::program::family::{Family, owns};
use crate::program::family4::V4;
use crate::program::frame::Frame;
use crate::program::hook::Hook;
use crate::program::maps::KernelTables;

/// The longest ARP frame: the least length of an Ethernet frame, with a VLAN tag (IEEE 802.3).
const PADDED: usize = 64;

/// The verdict on an ARP frame.
#[inline(always)]
pub(crate) fn arp<H: Hook>(frame: &Frame, endpoint: &Endpoint, start: usize) -> Reason {
    let Ok(arp) = packet::arp(frame, start) else { return Reason::Malformed };
    let length = frame.length() as usize;
    if matches!(H::DIRECTION, Direction::Ingress) {
        // A neighbour's interface may pad a frame; a pod's does not.
        return if length <= PADDED { Reason::Link } else { Reason::Malformed };
    }
    if length != start + ARP_LENGTH {
        return Reason::Malformed;
    }
    if endpoint.flags & flags::CHECK_SOURCE == 0 {
        return Reason::Link;
    }
    // A probe for an address (RFC 5227) comes from no address yet.
    let claimed = if arp.sender == 0 { arp.target } else { arp.sender };
    if arp.is_from_frame_source && owns::<V4>(endpoint, &claimed) {
        Reason::Link
    } else {
        Reason::SpoofedLink
    }
}

/// The verdict on a link message; `None` for other packets.
#[inline(always)]
pub(crate) fn verdict<H: Hook, F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
) -> Option<Reason> {
    if matches!(H::DIRECTION, Direction::Egress) && F::is_never_a_pods(packet, frame.network()) {
        return Some(Reason::SpoofedLink);
    }
    let (message, target) = F::link_message(frame, packet);
    if matches!(message, LinkMessage::No) {
        let is_claim = matches!(H::DIRECTION, Direction::Egress)
            && endpoint.flags & flags::CHECK_SOURCE != 0
            && F::VERSION == 6
            && packet::is_discovery(packet);
        return is_claim.then_some(Reason::SpoofedLink);
    }
    let is_honest = match H::DIRECTION {
        // from_pod drops what a pod's message falsely claims. What the node has changed since is looked
        // at again.
        Direction::Ingress => match lookup::sender(&KernelTables, frame.mark().sender()) {
            Some(pod) => {
                !matches!(message, LinkMessage::Router) && claims_own::<F>(pod, packet, &target)
            }
            None => true,
        },
        Direction::Egress => claims_own::<F>(endpoint, packet, &target),
    };
    Some(if is_honest { Reason::Link } else { Reason::SpoofedLink })
}

/// Whether a pod's message claims only what is the pod's.
#[inline(always)]
fn claims_own<F: Family>(
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
    target: &F::Address,
) -> bool {
    if endpoint.flags & flags::CHECK_SOURCE == 0 {
        return true;
    }
    let own = |address: &F::Address| F::is_link_local(address) || owns::<F>(endpoint, address);
    // The source of a probe for an address (RFC 4862) is the unspecified address. No advertisement has it.
    F::is_unspecified(&packet.source) || own(&packet.source) && own(target)
}
