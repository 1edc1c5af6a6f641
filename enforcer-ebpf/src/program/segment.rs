//! The short way for most packets: TCP segments and UDP datagrams whose ends are known, from or to a pod.
//!
//! To a pod, it calls no functions: see [`super::to_pod`]. It gives the general way's verdict or none. Everything else goes the general way; so do the drops of
//! which the agent gets an event.

use enforcer_ebpf::contract::endpoint::{Endpoint, flags};
use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::lookup;
use enforcer_ebpf::contract::mark::Deferred;
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use enforcer_ebpf::packet::{Bytes as _, Packet, ethertype, role};

use crate::program::family::Family;
use crate::program::family4::V4;
use crate::program::family6::V6;
use crate::program::frame::Frame;
use crate::program::hook::Hook;
use crate::program::maps::KernelTables;
use crate::program::{clock, flow_record, flow_table, judge, reply, report, starts};

/// Where the IP header of an Ethernet frame without tags begins.
pub(crate) const NETWORK: usize = 14;

/// The reason why the packet passes or is dropped, as a number. `None`: the general way decides.
#[inline(always)]
pub(crate) fn verdict<H: Hook>(frame: &Frame, endpoint: &Endpoint) -> Option<u32> {
    match frame.view::<14>(0)?.u16(12) {
        ethertype::IPV4 => verdict_in::<H, V4>(frame, endpoint),
        ethertype::IPV6 => verdict_in::<H, V6>(frame, endpoint),
        _ => None,
    }
}

#[inline(always)]
fn verdict_in<H: Hook, F: Family>(frame: &Frame, endpoint: &Endpoint) -> Option<u32> {
    let Some(packet) = F::segment(frame) else {
        return verdict_on_datagram::<H, F>(frame, endpoint);
    };
    if role::opens(packet.role) {
        return verdict_on_opening::<H, F>(frame, endpoint, &packet);
    }
    let reason = match by_policy::<H, F>(frame, endpoint, &packet)? {
        (Reason::Denied, entry) => return denied::<H, F>(frame, endpoint, &packet, entry),
        (reason, _) => reason,
    };
    match H::DIRECTION {
        Direction::Ingress if starts::must_record(endpoint.id, &packet) != 0 => {
            return keep::<H, F>(frame, endpoint, &packet).then_some(reason as u32);
        }
        Direction::Ingress => {}
        Direction::Egress => {
            let look_up = flow_table::entry_in_place::<F>;
            flow_record::record::<H, F>(frame, endpoint, &packet, 0, look_up);
        }
    }
    Some(reason as u32)
}

/// The same for a segment that opens a connection.
#[inline(always)]
fn verdict_on_opening<H: Hook, F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
) -> Option<u32> {
    let (reason, _) = by_policy::<H, F>(frame, endpoint, packet)?;
    if reason.is_drop() {
        return report::is_spent(endpoint).then_some(reason as u32);
    }
    // A copy, so that the compiler may keep the packet's parts in registers.
    let packet = *packet;
    let is_recorded = match H::DIRECTION {
        Direction::Ingress => flow_record::open_in_place::<H, F>(endpoint, &packet),
        Direction::Egress => flow_record::open::<H, F>(endpoint, &packet),
    };
    (frame.settle(is_recorded as usize) != 0).then_some(reason as u32)
}

/// The same for a datagram.
#[inline(always)]
fn verdict_on_datagram<H: Hook, F: Family>(frame: &Frame, endpoint: &Endpoint) -> Option<u32> {
    let packet = F::datagram(frame)?;
    let is_egress = matches!(H::DIRECTION, Direction::Egress);
    if is_egress && (judge::is_encapsulated(&packet) || F::is_never_a_pods(&packet, NETWORK)) {
        return None;
    }
    match by_policy::<H, F>(frame, endpoint, &packet)? {
        (Reason::Denied, entry) => denied::<H, F>(frame, endpoint, &packet, entry),
        (reason, _) => keep::<H, F>(frame, endpoint, &packet).then_some(reason as u32),
    }
}

/// Records an allowed packet if that is easy; returns whether it is done.
#[inline(always)]
fn keep<H: Hook, F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
) -> bool {
    // A copy, so that the compiler may keep the packet's parts in registers.
    let packet = *packet;
    let is_kept = match H::DIRECTION {
        Direction::Ingress => flow_record::keep_in_place::<H, F>(endpoint, &packet),
        Direction::Egress => flow_record::keep::<H, F>(endpoint, &packet),
    };
    frame.settle(is_kept as usize) != 0
}

/// The verdict of policy, and what is known of the other end's address. `None`: the general way decides.
#[inline(always)]
fn by_policy<H: Hook, F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
) -> Option<(Reason, Entry)> {
    let is_plain = match H::DIRECTION {
        Direction::Ingress => is_plain_to::<F>(frame, endpoint, packet),
        Direction::Egress => is_plain_from::<F>(endpoint, packet),
    };
    if !is_plain || endpoint.flags & H::CLOSED != 0 {
        return None;
    }
    if endpoint.flags & H::ISOLATED == 0 {
        return Some((Reason::NotIsolated, Entry::UNKNOWN));
    }
    let entry = known::<H, F>(frame, endpoint, packet)?;
    let cell = lookup::cell(&KernelTables, H::row(endpoint), entry.index())?;
    let port = packet.destination_port;
    let allows = lookup::cell_allows(&KernelTables, cell, packet.protocol, port);
    Some((if allows { Reason::Policy } else { Reason::Denied }, entry))
}

/// The verdict on a packet that policy denies: it may be a reply. `entry`: what is known of the other end's address.
#[inline(always)]
fn denied<H: Hook, F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
    entry: Entry,
) -> Option<u32> {
    // A copy, so that the compiler may keep the packet's parts in registers.
    let packet = *packet;
    let key = flow_record::key::<F>(endpoint, H::DIRECTION, &packet);
    let hash = flow_table::hash::<F>(&key);
    if let Some(candidate) = flow_table::candidate::<F>(hash) {
        let continues = match H::DIRECTION {
            Direction::Ingress => {
                let now = clock::now();
                let found = flow_table::only_at::<F>(&key, hash, candidate)?;
                let found = Some(found).filter(|it| it.is_alive(now));
                u32::from(reply::is_answered::<H, F>(endpoint, &packet, entry, found, now))
            }
            Direction::Egress => {
                reply::continues::<H, F>(endpoint, &packet, entry, hash, candidate.0)
            }
        };
        if frame.settle(continues as usize) != 0 {
            return Some(Reason::Reply as u32);
        }
    } else if matches!(H::DIRECTION, Direction::Egress) {
        starts::note_miss(endpoint, packet.protocol, packet.role, clock::now());
    }
    report::is_spent(endpoint).then_some(Reason::Denied as u32)
}

/// Whether a packet to the pod is addressed to it, and nothing of its sender's policy is left to decide.
#[inline(always)]
fn is_plain_to<F: Family>(frame: &Frame, endpoint: &Endpoint, packet: &Packet<F::Address>) -> bool {
    let mark = frame.mark();
    !mark.is_empty()
        && matches!(mark.deferred(), Deferred::Nothing)
        && mark.sender() != endpoint.id
        && F::is_own(endpoint, &packet.destination)
}

/// Whether a packet from the pod has its address, and goes to another end that is not its neighbour.
#[inline(always)]
fn is_plain_from<F: Family>(endpoint: &Endpoint, packet: &Packet<F::Address>) -> bool {
    endpoint.flags & flags::EXTRA_ADDRESSES == 0
        && F::is_own(endpoint, &packet.source)
        && !F::is_own(endpoint, &packet.destination)
        && !F::is_link_local(&packet.destination)
}

/// What is known of the other end's address, if it stands for no other end.
#[inline(always)]
fn known<H: Hook, F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
) -> Option<Entry> {
    let peer = H::peer(packet);
    let order = endpoint.order();
    let entry = F::near_entry(order, &peer).unwrap_or_else(|| match H::DIRECTION {
        Direction::Ingress => F::entry_in_place(order, &peer),
        Direction::Egress => F::entry(order, &peer),
    });
    if entry.may_hide_another() {
        return None;
    }
    // A pod of this node is the one that the mark names (semantics P4).
    if matches!(H::DIRECTION, Direction::Ingress) && !is_senders::<F>(frame.mark().sender(), &peer)
    {
        return None;
    }
    Some(entry)
}

/// Whether the source is the sender's. `sender`: the endpoint id of the mark, 0 for an end outside.
#[inline(always)]
fn is_senders<F: Family>(sender: u32, source: &F::Address) -> bool {
    sender == 0
        || lookup::sender(&KernelTables, sender).is_some_and(|sender| F::is_own(sender, source))
}
