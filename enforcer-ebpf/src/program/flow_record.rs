//! Recording flows: a flow's initiator is kept, so that its replies pass (semantics A3).
//!
//! The flows of every pod are recorded, isolated or not: a policy may isolate the pod in the middle
//! of a connection, and only the initiator tells replies from what the policy now denies (semantics
//! A3 and C2 together). A word of [`RECENT`] shows that a flow was already recorded in this bucket
//! of the clock, so most packets neither write nor refresh an entry. The life of an entry is in
//! [`flow_table`].

use core::ptr;

use enforcer_ebpf::contract::endpoint::Endpoint;
use enforcer_ebpf::contract::flow::{FlowState, FlowTail, flags};
use enforcer_ebpf::contract::table::RECENT_SLOTS;
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_ebpf::packet::{Bytes as _, Packet, Quoted, protocol, role};

use crate::program::clock;
use crate::program::family::Family;
use crate::program::flow_table::{self, Found};
use crate::program::frame::Frame;
use crate::program::hook::Hook;
use crate::program::maps::RECENT;
use crate::program::policy;

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
    };
    key::<F>(endpoint, direction, &packet)
}

#[inline(always)]
fn is_icmp<F: Family>(number: u8) -> bool {
    number == if F::VERSION == 4 { protocol::ICMP } else { protocol::ICMP6 }
}

/// The bits of a signature that hold the endpoint's id: no pod's flows can look like another's.
const ID_SHIFT: u32 = 52;

/// Records an allowed packet of the direction `H`. `origin`: 0, or [`flags::NODE`].
#[inline(always)]
pub(crate) fn record<H: Hook, F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
    origin: u16,
) {
    /// Packets that change a flow's state or may begin another are never skipped.
    const CHANGES: u8 = role::OPENS | role::ENDS | role::RESETS;
    if packet.role & (role::BEGINS | role::ANSWERS) == 0 {
        return;
    }
    let flow = key::<F>(endpoint, H::DIRECTION, packet);
    let mixed = F::mix(&flow);
    let now = clock::now();
    // The two lowest bits are the directions that were recorded in this bucket.
    let hash = (mixed ^ (u64::from(now) << 32)) & ((1 << ID_SHIFT) - 4);
    let signature = (u64::from(endpoint.id) << ID_SHIFT) | hash;
    let seen = 1 << H::DIRECTION as u32;
    let Some(recent) = RECENT.get_ptr_mut(0) else { return };
    // SAFETY: the index is masked to the table's size.
    let slot = unsafe { (&raw mut (*recent)[0]).add((mixed >> 2) as usize & (RECENT_SLOTS - 1)) };
    // SAFETY: an aligned word of a map value; each racing writer leaves a whole signature.
    let word = unsafe { ptr::read_volatile(slot) };
    if packet.role & CHANGES == 0 && word & (!3 | seen) == signature | seen {
        return;
    }
    // The packet after a TCP SYN may establish the connection within the same bucket.
    if remember::<H, F>(frame, endpoint, packet, &flow, origin, now)
        && packet.role & role::OPENS == 0
    {
        let others = if word & !3 == signature { word } else { signature };
        // SAFETY: as above.
        unsafe { ptr::write_volatile(slot, others | seen) };
    }
}

/// Refreshes or inserts the entry; returns whether there is one now.
#[inline(always)]
fn remember<H: Hook, F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
    flow: &F::Flow,
    origin: u16,
    now: u32,
) -> bool {
    let direction = H::DIRECTION;
    let opened = FlowState::new(now, direction, packet.protocol).with(origin);
    let Some(found) = flow_table::find::<F>(flow, now) else {
        return begins(direction, packet.protocol, packet.role)
            && flow_table::insert::<F>(flow, opened.after(direction, packet.role, now));
    };
    let another = packet.role & role::OPENS != 0 && found.state.is_followed(direction)
        || found.state.flags & origin != origin
        || has_lost_its_initiator::<H, F>(endpoint, packet, &found);
    // The verifier need not follow how this came about.
    if frame.settle(usize::from(another)) != 0 {
        return flow_table::replace::<F>(&found, flow, direction, opened);
    }
    flow_table::advance::<F>(&found, flow, direction, packet.role, now);
    true
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
        || packet.role & role::OPENS != 0
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
        Direction::Egress => role & role::OPENS != 0,
        // Also with a SYN: policy may isolate the pod before it has answered.
        Direction::Ingress => true,
    }
}
