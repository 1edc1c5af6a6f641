//! Flow state: who began a connection, kept so that its replies pass (semantics A3).
//!
//! Every pod's flows are kept, isolated or not: a policy may isolate the pod in the middle of a
//! connection, and only who *began* it tells its replies from what the policy now forbids
//! (semantics A3 and C2 together). Forward packets find in one word of [`RECENT`] that their flow
//! was recorded in this bucket of the clock, so neither writing nor refreshing costs each packet.
//! What becomes of the entries: [`crate::follow`].

use aya_ebpf::helpers::generated::bpf_jiffies64;
use core::ptr;

use enforcer_ebpf::count::{Direction, Reason};
use enforcer_ebpf::endpoint::Endpoint;
use enforcer_ebpf::flow::{FlowState, FlowTail, elapsed};
use enforcer_ebpf::fragment::FragmentState;
use enforcer_ebpf::packet::{Packet, Quoted, protocol, role};
use enforcer_ebpf::table::RECENT_SLOTS;

use crate::config;
use crate::family::Family;
use crate::follow;
use crate::maps::RECENT;

/// The present bucket of the coarse clock.
#[inline(always)]
pub(crate) fn now() -> u32 {
    // SAFETY: a helper without arguments.
    (unsafe { bpf_jiffies64() } >> config::clock_shift()) as u32
}

/// How long a packet's later fragments may take after the first, in buckets: 15 to 30 seconds,
/// which is what the kernel gives a receiver to put IPv4 packets together.
const FRAGMENT_BUCKETS: u32 = 15;

/// Remembers that a first fragment was allowed.
#[inline(always)]
pub(crate) fn remember_fragments<F: Family>(
    endpoint: &Endpoint,
    direction: Direction,
    packet: &Packet<F::Address>,
    reason: Reason,
) {
    let key = F::fragments(packet, endpoint, direction);
    let state = FragmentState { seen: now(), reason: reason as u32 };
    // Without room for it the others are dropped, as if the first had not been seen.
    let _ = F::fragment_table().insert(key, state, 0);
}

/// Why the first fragment of the same packet was allowed, if it was seen and was.
#[inline(always)]
pub(crate) fn first_fragment<F: Family>(
    endpoint: &Endpoint,
    direction: Direction,
    packet: &Packet<F::Address>,
) -> Option<Reason> {
    let key = F::fragments(packet, endpoint, direction);
    let entry = F::fragment_table().get_ptr(key)?;
    // SAFETY: a live map value, read as one word.
    let state = unsafe { ptr::read_volatile(entry) };
    if elapsed(state.seen, now()) > FRAGMENT_BUCKETS {
        return None;
    }
    Some(if state.reason == Reason::Reply as u32 { Reason::Reply } else { Reason::Policy })
}

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
        // The kind of an ICMP query stays in the remote port, whichever way the packet goes.
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

/// Records that a packet which policy allows was seen in `direction`.
#[inline(always)]
pub(crate) fn record<F: Family>(
    endpoint: &Endpoint,
    direction: Direction,
    packet: &Packet<F::Address>,
) {
    /// What changes a flow's state, or may begin another: never skipped.
    const TURNS: u8 = role::OPENS | role::ENDS | role::RESETS;
    if packet.role & (role::BEGINS | role::ANSWERS) == 0 {
        return;
    }
    let flow = key::<F>(endpoint, direction, packet);
    let mixed = F::mix(&flow);
    let now = now();
    // The two lowest bits: the directions in which a packet was recorded in this bucket.
    let signature = (mixed ^ (u64::from(now) << 32)) & !3;
    let seen = 1 << direction as u32;
    let Some(recent) = RECENT.get_ptr_mut(0) else { return };
    // SAFETY: the index is masked to the table's size.
    let slot = unsafe { (&raw mut (*recent)[0]).add((mixed >> 2) as usize & (RECENT_SLOTS - 1)) };
    // SAFETY: an aligned word of a map value; racing writers each leave a whole signature.
    let word = unsafe { ptr::read_volatile(slot) };
    if packet.role & TURNS == 0 && word & (!3 | seen) == signature | seen {
        return;
    }
    // What follows a TCP SYN makes the connection established, maybe within the same bucket.
    if remember::<F>(direction, packet, &flow, now) && packet.role & role::OPENS == 0 {
        let others = if word & !3 == signature { word } else { signature };
        // SAFETY: as above.
        unsafe { ptr::write_volatile(slot, others | seen) };
    }
}

/// Refreshes or writes the entry; whether there is one now.
#[inline(always)]
fn remember<F: Family>(
    direction: Direction,
    packet: &Packet<F::Address>,
    flow: &F::Flow,
    now: u32,
) -> bool {
    let begun = FlowState::new(now, direction, packet.protocol);
    let Some(found) = follow::find::<F>(flow, now) else {
        return begins(direction, packet.protocol, packet.role)
            && follow::begin::<F>(flow, begun.after(direction, packet.role, now));
    };
    if packet.role & role::OPENS != 0 && found.state.is_followed(direction) {
        return follow::begin_again::<F>(&found, flow, direction, begun);
    }
    follow::go_on::<F>(&found, flow, direction, packet.role, now);
    true
}

/// Whether a packet of an unknown flow makes it known.
#[inline(always)]
fn begins(direction: Direction, protocol: u8, role: u8) -> bool {
    if protocol != protocol::TCP {
        return role & role::BEGINS != 0;
    }
    if role & role::RESETS != 0 {
        return false;
    }
    match direction {
        // A pod's TCP flows are known from their SYN on.
        Direction::Egress => role & role::OPENS != 0,
        // From the SYN on, too: before the pod has answered, policy may isolate it.
        Direction::Ingress => true,
    }
}
