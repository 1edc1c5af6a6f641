//! What policy refuses may still be the answer to something that it allows (semantics A3): a
//! reply of a living flow, or an ICMP error about a packet of one.
//!
//! Both come down to one question to the flow table, asked in one place.

use enforcer_ebpf::count::Direction;
use enforcer_ebpf::endpoint::Endpoint;
use enforcer_ebpf::entry::Entry;
use enforcer_ebpf::packet::{Packet, role};

use crate::family::{Family, owns};
use crate::far::Far;
use crate::follow;
use crate::frame::Frame;
use crate::judge::{Hook, forward_allows};
use crate::state;

/// What is asked of the flow table, and of policy if the flow lives.
struct Question<K> {
    flow: K,
    /// What is known of the other end's address.
    entry: Entry,
    /// Whether that address may stand for another: whether policy still allows the flow is then
    /// settled elsewhere, or can't be.
    hidden: bool,
    protocol: u8,
    /// The receiver's port if the flow was begun against this direction.
    port: u32,
    /// The same if it was begun in this direction.
    reply_port: u32,
}

/// Whether the packet answers a living flow that policy still allows (semantics A3, C2). `open`:
/// whether `far` may stand for another.
#[inline(always)]
pub(crate) fn answers<H: Hook, F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
    far: Far,
    open: bool,
) -> bool {
    let is_error = packet.role & role::ERROR != 0;
    let asked = if is_error {
        about_quoted::<H, F>(frame, endpoint, packet)
    } else {
        about_reply::<H, F>(endpoint, packet, far, open)
    };
    let Some(asked) = asked else { return false };
    let now = state::now();
    let Some(flow) = follow::find::<F>(&asked.flow, now) else { return false };
    let Question { entry, hidden, protocol, port, reply_port, .. } = asked;
    let allowed = if flow.state.is_begun(<H::Opposite as Hook>::DIRECTION) {
        hidden || forward_allows::<H::Opposite>(endpoint, entry, protocol, port)
    } else {
        // An error about a reply; what is no error goes the flow's own way, and policy refused it.
        is_error && (hidden || forward_allows::<H>(endpoint, entry, protocol, reply_port))
    };
    // Only a reply that passes moves the flow's state: a forged RST that is refused ends nothing,
    // and an error keeps nothing alive, since whoever sends it need not be the other end.
    if allowed && !is_error {
        follow::go_on::<F>(&flow, &asked.flow, H::DIRECTION, packet.role, now);
    }
    allowed
}

#[inline(always)]
fn about_reply<H: Hook, F: Family>(
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
    far: Far,
    open: bool,
) -> Option<Question<F::Flow>> {
    if packet.role & role::ANSWERS == 0 {
        return None;
    }
    Some(Question {
        flow: state::key::<F>(endpoint, H::DIRECTION, packet),
        entry: far.entry,
        hidden: open,
        protocol: packet.protocol,
        port: far.port,
        reply_port: 0,
    })
}

/// The quoted packet travelled the opposite way: what a pod sent comes back to it, and the
/// reverse.
#[inline(always)]
fn about_quoted<H: Hook, F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
) -> Option<Question<F::Flow>> {
    let quoted = F::quoted(frame, packet)?;
    let (own, remote) = match H::DIRECTION {
        Direction::Ingress => (quoted.source, quoted.destination),
        Direction::Egress => (quoted.destination, quoted.source),
    };
    if !owns::<F>(endpoint, &own) {
        return None;
    }
    let entry = F::entry(&remote);
    Some(Question {
        flow: state::quoted_key::<F>(endpoint, <H::Opposite as Hook>::DIRECTION, &quoted),
        entry,
        hidden: entry.may_hide_another(),
        protocol: quoted.protocol,
        port: u32::from(quoted.destination_port),
        reply_port: u32::from(quoted.source_port),
    })
}
