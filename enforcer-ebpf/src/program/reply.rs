//! Replies (semantics A3): a packet that policy denies may answer one that it allows. It is a
//! reply of a living flow, or an ICMP error about a packet of one.
//!
//! Both are one question to the flow table, asked in one place.

use enforcer_ebpf::contract::endpoint::{self, Endpoint, Order};
use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::flow::flags;
use enforcer_ebpf::contract::lookup;
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_ebpf::packet::{Packet, role};

use crate::program::clock;
use crate::program::family::{Family, owns};
use crate::program::flow_record;
use crate::program::flow_table::{self, Candidate, Found};
use crate::program::frame::Frame;
use crate::program::hook::Hook;
use crate::program::maps::KernelTables;
use crate::program::policy::forward_allows;
use crate::program::remote::{self, Remote};
use crate::program::starts;

/// A question to the flow table, and to policy if the flow lives.
struct Question<K> {
    flow: K,
    /// What is known of the other end's address.
    entry: Entry,
    /// Whether that address may stand for another. Whether policy still allows the flow is then
    /// decided by another hook, or can't be decided.
    hidden: bool,
    protocol: u8,
    /// The receiver's port if the peer initiated the flow in the opposite direction.
    port: u32,
    /// The receiver's port if the flow was initiated in this direction.
    reply_port: u32,
}

/// Whether the packet answers a living flow that policy still allows (semantics A3, C2). `open`:
/// whether the remote address may stand for another.
#[inline(always)]
pub(crate) fn is_reply<H: Hook, F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
    remote: Remote<F::Address>,
    open: bool,
) -> bool {
    let is_error = packet.role & role::ERROR != 0;
    let question = if is_error {
        about_quoted::<H, F>(frame, endpoint, packet)
    } else {
        about_packet::<H, F>(endpoint, packet, remote, open)
    };
    let Some(question) = question else { return false };
    let now = clock::now();
    let hash = flow_table::hash::<F>(&question.flow);
    let Some(flow) = flow_table::find::<F>(&question.flow, hash, now) else {
        // Of an open packet, a later hook knows whether it is dropped.
        if matches!(H::DIRECTION, Direction::Egress) && !open {
            starts::note_miss(endpoint, packet.protocol, packet.role, now);
        }
        return false;
    };
    let Question { entry, hidden, protocol, port, reply_port, .. } = question;
    let allowed = if flow.state.is_initiator(<H::Opposite as Hook>::DIRECTION) {
        hidden
            || flow.state.flags & flags::NODE != 0
            || forward_allows::<H::Opposite>(endpoint, entry, protocol, port)
    } else {
        // An error about a reply. Other packets go the flow's own way, and policy denied them.
        is_error && (hidden || forward_allows::<H>(endpoint, entry, protocol, reply_port))
    };
    // Only a reply that passes changes the flow's state: a forged RST that is dropped ends no flow.
    // An error keeps no flow alive: its sender need not be the other end.
    if allowed && !is_error {
        flow_table::advance(&flow, H::DIRECTION, packet.role, now);
        if matches!(H::DIRECTION, Direction::Egress) && packet.role & role::ACCEPTS != 0 {
            starts::note_answer(endpoint, now);
        }
    }
    allowed
}

/// The same for a datagram, or a TCP segment without SYN, FIN and RST, whose other end is the one that its
/// address names; not 0 if so. A function of its own: the verifier proves once what follows.
#[inline(never)]
pub(crate) fn continues<H: Hook, F: Family>(
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
    entry: Entry,
    hash: u64,
    candidate: u64,
) -> u32 {
    let key = flow_record::key::<F>(endpoint, H::DIRECTION, packet);
    let now = clock::now();
    let found =
        flow_table::entry_at::<F>(&key, hash, Candidate(candidate)).filter(|it| it.is_alive(now));
    u32::from(is_answered::<H, F>(endpoint, packet, entry, found, now))
}

/// Whether the packet answers the living flow that was found.
#[inline(always)]
pub(crate) fn is_answered<H: Hook, F: Family>(
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
    entry: Entry,
    found: Option<Found>,
    now: u32,
) -> bool {
    let Some(flow) = found else {
        if matches!(H::DIRECTION, Direction::Egress) {
            starts::note_miss(endpoint, packet.protocol, packet.role, now);
        }
        return false;
    };
    let port = u32::from(packet.source_port);
    let allowed = flow.state.is_initiator(<H::Opposite as Hook>::DIRECTION)
        && (flow.state.flags & flags::NODE != 0
            || forward_allows::<H::Opposite>(endpoint, entry, packet.protocol, port));
    if allowed {
        flow_table::advance(&flow, H::DIRECTION, packet.role, now);
    }
    allowed
}

#[inline(always)]
fn about_packet<H: Hook, F: Family>(
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
    remote: Remote<F::Address>,
    open: bool,
) -> Option<Question<F::Flow>> {
    if packet.role & role::ANSWERS == 0 {
        return None;
    }
    Some(Question {
        flow: flow_record::key::<F>(endpoint, H::DIRECTION, packet),
        entry: remote.entry,
        hidden: open,
        protocol: packet.protocol,
        port: remote.port,
        reply_port: 0,
    })
}

/// The quoted packet travelled in the opposite direction: an error to the pod quotes what the pod
/// sent, and the reverse.
#[inline(always)]
fn about_quoted<H: Hook, F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
) -> Option<Question<F::Flow>> {
    let quoted = F::quoted(frame, packet)?;
    // An error goes to the sender of the packet that it quotes, and is short (semantics A3).
    if packet.destination != quoted.source || frame.length() as usize - frame.network() > F::ERROR {
        return None;
    }
    let (own, remote) = match H::DIRECTION {
        Direction::Ingress => (quoted.source, quoted.destination),
        Direction::Egress => (quoted.destination, quoted.source),
    };
    if !owns::<F>(endpoint, &own) {
        return None;
    }
    let entry = F::entry(endpoint.order(), &remote);
    if matches!(H::DIRECTION, Direction::Ingress)
        && !may_report::<F>(frame, &packet.source, &quoted.destination, entry)
    {
        return None;
    }
    Some(Question {
        flow: flow_record::quoted_key::<F>(endpoint, <H::Opposite as Hook>::DIRECTION, &quoted),
        entry,
        hidden: entry.may_hide_another(),
        protocol: quoted.protocol,
        port: u32::from(quoted.destination_port),
        reply_port: u32::from(quoted.source_port),
    })
}

/// Whether the sender of an error may be on the way to the end that it is about: that end itself,
/// or a router. There is none between pods of this node, and a translated error comes from the
/// address that it is about; of one from outside, the mark must tell (semantics A3).
#[inline(always)]
fn may_report<F: Family>(
    frame: &Frame,
    source: &F::Address,
    remote: &F::Address,
    entry: Entry,
) -> bool {
    let (mark, hides) = (frame.mark(), entry.may_hide_another());
    if mark.sender() == 0 {
        return !hides || remote::is_known_client(frame);
    }
    if *source == *remote {
        return true;
    }
    match lookup::sender(&KernelTables, mark.sender()) {
        Some(pod) => {
            !hides && owns::<F>(pod, remote) || pod.flags & endpoint::flags::CHECK_SOURCE == 0
        }
        None => false,
    }
}

/// Whether a packet from outside is an error about one to an address of the node or of a Service:
/// such a packet never leaves the node, so no router outside can have seen it (semantics A3).
#[inline(always)]
pub(crate) fn is_about_hidden<F: Family>(frame: &Frame, packet: &Packet<F::Address>) -> bool {
    packet.role & role::ERROR != 0
        && F::quoted(frame, packet)
            .is_some_and(|it| F::entry(Order::NONE, &it.destination).may_hide_another())
}
