//! Recording flows: a flow's initiator is kept, so that its replies pass (semantics A3).
//!
//! The flows of every pod are recorded, isolated or not: a policy may isolate the pod in the middle
//! of a connection, and only the initiator tells replies from what the policy now denies (semantics
//! A3 and C2 together). A word of [`RECENT`] shows that a flow was already recorded in this bucket
//! of the clock, so most packets neither write nor refresh an entry. The life of an entry is in
//! [`flow_table`].

use core::ptr;

use enforcer_ebpf::contract::endpoint::Endpoint;
use enforcer_ebpf::contract::flow::{FlowState, FlowTail};
use enforcer_ebpf::contract::table::RECENT_SLOTS;
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_ebpf::packet::{Packet, Quoted, protocol, role};

use crate::program::clock;
use crate::program::family::Family;
use crate::program::flow_table;
use crate::program::maps::RECENT;

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

/// Records an allowed packet that was seen in `direction`.
#[inline(always)]
pub(crate) fn record<F: Family>(
    endpoint: &Endpoint,
    direction: Direction,
    packet: &Packet<F::Address>,
) {
    /// Packets that change a flow's state or may begin another are never skipped.
    const CHANGES: u8 = role::OPENS | role::ENDS | role::RESETS;
    if packet.role & (role::BEGINS | role::ANSWERS) == 0 {
        return;
    }
    let flow = key::<F>(endpoint, direction, packet);
    let mixed = F::mix(&flow);
    let now = clock::now();
    // The two lowest bits are the directions that were recorded in this bucket.
    let signature = (mixed ^ (u64::from(now) << 32)) & !3;
    let seen = 1 << direction as u32;
    let Some(recent) = RECENT.get_ptr_mut(0) else { return };
    // SAFETY: the index is masked to the table's size.
    let slot = unsafe { (&raw mut (*recent)[0]).add((mixed >> 2) as usize & (RECENT_SLOTS - 1)) };
    // SAFETY: an aligned word of a map value; each racing writer leaves a whole signature.
    let word = unsafe { ptr::read_volatile(slot) };
    if packet.role & CHANGES == 0 && word & (!3 | seen) == signature | seen {
        return;
    }
    // The packet after a TCP SYN may establish the connection within the same bucket.
    if remember::<F>(direction, packet, &flow, now) && packet.role & role::OPENS == 0 {
        let others = if word & !3 == signature { word } else { signature };
        // SAFETY: as above.
        unsafe { ptr::write_volatile(slot, others | seen) };
    }
}

/// Refreshes or inserts the entry; returns whether there is one now.
#[inline(always)]
fn remember<F: Family>(
    direction: Direction,
    packet: &Packet<F::Address>,
    flow: &F::Flow,
    now: u32,
) -> bool {
    let opened = FlowState::new(now, direction, packet.protocol);
    let Some(found) = flow_table::find::<F>(flow, now) else {
        return begins(direction, packet.protocol, packet.role)
            && flow_table::insert::<F>(flow, opened.after(direction, packet.role, now));
    };
    if packet.role & role::OPENS != 0 && found.state.is_followed(direction) {
        return flow_table::replace::<F>(&found, flow, direction, opened);
    }
    flow_table::advance::<F>(&found, flow, direction, packet.role, now);
    true
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
