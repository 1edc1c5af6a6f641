//! Recording flows: a flow's initiator is kept, so that its replies pass (semantics A3).
//!
//! The flows of every pod are recorded, isolated or not: a policy may isolate the pod in the middle
//! of a connection, and only the initiator tells replies from what the policy now denies (semantics
//! A3 and C2 together). Segments to a pod normally need not be: see [`starts`].

use enforcer_ebpf::contract::endpoint::Endpoint;
use enforcer_ebpf::contract::flow::{FlowState, FlowTail, flags};
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_ebpf::packet::{Bytes as _, Packet, Quoted, protocol, role};

use crate::program::clock;
use crate::program::family::Family;
use crate::program::flow_table::{self, Found};
use crate::program::frame::Frame;
use crate::program::hook::Hook;
use crate::program::{flow_insert, policy, starts};

/// The key of the flow that a packet belongs to.
#[inline(always)]
pub(crate) fn key<F: Family>(
    endpoint: &Endpoint,
    direction: Direction,
    packet: &Packet<F::Address>,
) -> F::Flow {
    let (local, remote, local_port, remote_port) = match direction {
        Direction::Egress => {
            (packet.source, packet.destination, packet.source_port, packet.destination_port)
        }
        // The kind of an ICMP query stays in the remote port in both directions.
        Direction::Ingress if is_icmp::<F>(packet.protocol) => {
            (packet.destination, packet.source, packet.source_port, packet.destination_port)
        }
        Direction::Ingress => {
            (packet.destination, packet.source, packet.destination_port, packet.source_port)
        }
    };
    let tail = FlowTail {
        local_port,
        remote_port,
        endpoint: endpoint.id as u16,
        protocol: packet.protocol,
        reserved: 0,
    };
    F::flow(local, remote, tail)
}

/// The key of the flow that a quoted packet belongs to; `direction` is the *quoted* packet's.
#[inline(always)]
pub(crate) fn quoted_key<F: Family>(
    endpoint: &Endpoint,
    direction: Direction,
    quoted: &Quoted<F::Address>,
) -> F::Flow {
    let packet = Packet {
        source: quoted.source,
        destination: quoted.destination,
        transport: 0,
        source_port: quoted.source_port,
        destination_port: quoted.destination_port,
        identification: 0,
        protocol: quoted.protocol,
        role: 0,
        hop_limit: 0,
        icmp_type: 0,
        icmp_code: 0,
        has_data: false,
    };
    key::<F>(endpoint, direction, &packet)
}

#[inline(always)]
fn is_icmp<F: Family>(number: u8) -> bool {
    number == if F::VERSION == 4 { protocol::ICMP } else { protocol::ICMP6 }
}

/// Records an allowed packet of the direction `H`. `origin`: 0, or [`flags::NODE`]; `look_up`: the entry of a flow.
#[inline(always)]
pub(crate) fn record<H: Hook, F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
    origin: u16,
    look_up: impl FnOnce(&F::Flow, u64) -> Option<Found>,
) {
    if packet.role & (role::BEGINS | role::ANSWERS) == 0 {
        return;
    }
    let flow = key::<F>(endpoint, H::DIRECTION, packet);
    let (hash, now) = (flow_table::hash::<F>(&flow), clock::now());
    let opened = FlowState::new(now, H::DIRECTION, packet.protocol).with(origin);
    let Some(found) = look_up(&flow, hash) else {
        if begins(H::DIRECTION, packet.protocol, packet.role) {
            let state = opened.after(H::DIRECTION, packet.role, now);
            flow_insert::insert::<F>(frame, &flow, hash, state);
        }
        return;
    };
    if !found.is_alive(now) {
        if begins(H::DIRECTION, packet.protocol, packet.role) {
            flow_table::replace(&found, hash, opened.after(H::DIRECTION, packet.role, now));
        }
        return;
    }
    let another = role::opens(packet.role) && found.state.is_followed(H::DIRECTION)
        || takes_over(origin, packet, &found)
        || has_lost_its_initiator::<H, F>(endpoint, packet, &found);
    // The verifier need not follow how this came about.
    if frame.settle(usize::from(another)) != 0 {
        flow_table::replace(&found, hash, opened);
        return;
    }
    flow_table::advance(&found, H::DIRECTION, packet.role, now);
    if matches!(H::DIRECTION, Direction::Egress) && packet.role & role::ACCEPTS != 0 {
        starts::note_answer(endpoint, now);
    }
}

/// Records the first packet of a connection that is certainly new; not 0 if so. If not, [`record`] must. A function
/// of its own: the verifier proves once what follows.
#[inline(never)]
pub(crate) fn open<H: Hook, F: Family>(endpoint: &Endpoint, packet: &Packet<F::Address>) -> u32 {
    open_in_place::<H, F>(endpoint, packet)
}

/// As [`open`].
#[inline(always)]
pub(crate) fn open_in_place<H: Hook, F: Family>(
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
) -> u32 {
    let flow = key::<F>(endpoint, H::DIRECTION, packet);
    let (hash, now) = (flow_table::hash::<F>(&flow), clock::now());
    let state = FlowState::new(now, H::DIRECTION, packet.protocol);
    flow_insert::insert_new::<F>(&flow, hash, state.after(H::DIRECTION, packet.role, now))
}

/// Records another allowed packet if its flow is certainly new, or lives and keeps its initiator; not 0 if so. If
/// not, [`record`] must. A function of its own, as [`open`].
#[inline(never)]
pub(crate) fn keep<H: Hook, F: Family>(endpoint: &Endpoint, packet: &Packet<F::Address>) -> u32 {
    keep_in_place::<H, F>(endpoint, packet)
}

/// As [`keep`].
#[inline(always)]
pub(crate) fn keep_in_place<H: Hook, F: Family>(
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
) -> u32 {
    let flow = key::<F>(endpoint, H::DIRECTION, packet);
    let (hash, now) = (flow_table::hash::<F>(&flow), clock::now());
    let Some(candidate) = flow_table::candidate::<F>(hash) else {
        let opened = FlowState::new(now, H::DIRECTION, packet.protocol);
        let state = opened.after(H::DIRECTION, packet.role, now);
        return flow_insert::insert_new::<F>(&flow, hash, state);
    };
    let Some(found) = flow_table::only_at::<F>(&flow, hash, candidate) else { return 0 };
    // While the pod is not isolated in the initiator's direction, the initiator may open the flow.
    let isolated = <H::Opposite as Hook>::ISOLATED | <H::Opposite as Hook>::CLOSED;
    let may_lose_its_initiator = packet.role & role::BEGINS != 0
        && !found.state.is_initiator(H::DIRECTION)
        && endpoint.flags & isolated != 0;
    if may_lose_its_initiator || !found.is_alive(now) {
        return 0;
    }
    flow_table::advance(&found, H::DIRECTION, packet.role, now);
    1
}

/// Whether the node takes a flow over that another end opened: its own packets may be answered. Not by a
/// reset, which it may send in another's name to end what policy denies.
#[inline(always)]
fn takes_over<A>(origin: u16, packet: &Packet<A>, found: &Found) -> bool {
    origin != 0 && (found.state.flags & origin) | u16::from(packet.role & role::RESETS) == 0
}

/// Whether policy no longer allows a flow's initiator to open it, while it allows this packet of the
/// other end, which could open it as well: the other end is the initiator now (semantics A6).
#[inline(always)]
fn has_lost_its_initiator<H: Hook, F: Family>(
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
    found: &Found,
) -> bool {
    if packet.role & role::BEGINS == 0
        || role::opens(packet.role)
        || found.state.is_initiator(H::DIRECTION)
        || found.state.flags & flags::NODE != 0
    {
        return false;
    }
    let entry = F::entry(endpoint.order(), &H::peer(packet));
    let port = u32::from(packet.source_port);
    !entry.may_hide_another()
        && !policy::forward_allows::<H::Opposite>(endpoint, entry, packet.protocol, port)
}

/// Whether a packet of an unknown flow begins it.
#[inline(always)]
fn begins(direction: Direction, protocol: u8, role: u8) -> bool {
    if protocol != protocol::TCP {
        return role & role::BEGINS != 0;
    }
    if role & role::RESETS != 0 {
        return false;
    }
    match direction {
        // A pod's own TCP flows begin with their SYN.
        Direction::Egress => role::opens(role),
        // Also with a SYN: policy may isolate the pod before it has answered.
        Direction::Ingress => true,
    }
}
