//! The verdict of policy alone: a row of cells, one for each class of peers (semantics S4).

use enforcer_ebpf::contract::endpoint::{Endpoint, flags};
use enforcer_ebpf::contract::entry::{Cell, Entry};
use enforcer_ebpf::contract::lookup;
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use enforcer_ebpf::packet::{Packet, role};

use crate::program::family::Family;
use crate::program::fragment_table;
use crate::program::hook::Hook;
use crate::program::maps::KernelTables;
use crate::program::remote::HIDDEN_PORT;

/// Whether the endpoint is isolated in any direction.
#[inline(always)]
pub(crate) fn is_isolated(endpoint: &Endpoint) -> bool {
    const ANY: u32 = flags::INGRESS_ISOLATED
        | flags::EGRESS_ISOLATED
        | flags::INGRESS_CLOSED
        | flags::EGRESS_CLOSED;
    endpoint.flags & ANY != 0
}

/// The verdict on a forward packet in an isolated direction. Later fragments get the first one's
/// (semantics P2). `entry`: what is known of the peer's address.
#[inline(always)]
pub(crate) fn verdict<H: Hook, F: Family>(
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
    entry: Entry,
) -> Reason {
    let reason = by_cell::<H, F>(endpoint, packet, entry);
    if packet.role & role::FRAGMENT != 0 && reason.is_drop() {
        return fragment_table::first::<F>(endpoint, H::DIRECTION, packet).unwrap_or(reason);
    }
    if packet.role & role::FIRST_FRAGMENT != 0 && !reason.is_drop() {
        fragment_table::remember::<F>(endpoint, H::DIRECTION, packet, reason);
    }
    reason
}

#[inline(always)]
fn by_cell<H: Hook, F: Family>(
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
    entry: Entry,
) -> Reason {
    if endpoint.flags & H::CLOSED != 0 {
        return closed(endpoint);
    }
    let Some(cell) = lookup::cell(&KernelTables, H::row(endpoint), entry.index()) else {
        return Reason::Denied;
    };
    if packet.role & role::FRAGMENT != 0 {
        // A later fragment shows no ports: only what is allowed on every port is sure to pass.
        return match cell {
            Cell::ALLOW => Reason::Policy,
            _ => Reason::Fragment,
        };
    }
    if lookup::cell_allows(&KernelTables, cell, packet.protocol, packet.destination_port) {
        Reason::Policy
    } else {
        Reason::Denied
    }
}

/// The reason why a direction is closed.
#[inline(always)]
fn closed(endpoint: &Endpoint) -> Reason {
    if endpoint.flags & flags::NO_POD != 0 { Reason::UnknownPod } else { Reason::Unrepresented }
}

/// Whether current policy of this direction allows `port` of the flow's receiver: a reply passes
/// only while the packets that it answers are allowed (semantics C2). `entry`: what is known of
/// the peer's address.
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
    match lookup::cell(&KernelTables, H::row(endpoint), entry.index()) {
        Some(cell) if port == HIDDEN_PORT => lookup::cell_allows_some(cell),
        Some(cell) => lookup::cell_allows(&KernelTables, cell, protocol, port as u16),
        None => false,
    }
}
