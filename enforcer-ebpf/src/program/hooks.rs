//! The TC programs at a pod's interface for what it sends, and where packets leave or enter the node. Those
//! for packets to a pod are in [`super::to_pod`].
//!
//! An allowed packet goes on to the next program on the hook (semantics P5). A dropped one is
//! counted and, within a budget, reported.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use aya_log_ebpf::debug;
use enforcer_ebpf::contract::endpoint::{self, Endpoint};
use enforcer_ebpf::contract::lookup;
use enforcer_ebpf::contract::mark::{Deferred, Mark};
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use enforcer_ebpf::packet::{self, Bytes as _, LinkMessage, Malformed, Packet, ethertype, role};

use crate::program::family::Family;
use crate::program::family4::V4;
use crate::program::family6::V6;
use crate::program::frame::{DROP, Frame, NEXT};
use crate::program::hook::{FromPod, Hook};
use crate::program::maps::{KernelTables, POD_ADDRESSES};
use crate::program::parse::{merge_paths, parse};
use crate::program::{
    deferred, flow_record, flow_table, judge, link, origin, policy, remote, reply, report, segment,
    starts,
};

/// At a pod's interface, packets from the pod: its egress policy.
#[classifier]
#[inline(always)]
pub(crate) fn from_pod(context: TcContext) -> i32 {
    let mut frame = Frame::new(context);
    let Some(endpoint) = lookup::endpoint_or_closed(&KernelTables, frame.interface()) else {
        // Not guarded yet: what it sends is not the node's, either.
        frame.set_mark(Mark::UNKNOWN);
        return NEXT;
    };
    frame.set_mark(Mark::pod(endpoint.id, Deferred::Nothing));
    if let Some(number) = segment::verdict::<FromPod>(&frame, endpoint) {
        report::count(endpoint, Direction::Egress, number, frame.length());
        return if Reason::is_drop_number(number) { DROP } else { NEXT };
    }
    run::<FromPod>(&mut frame, endpoint)
}

/// At an uplink, packets that leave the node: what the sender's hook deferred.
#[classifier]
#[inline(always)]
pub(crate) fn to_wire(context: TcContext) -> i32 {
    let mut frame = Frame::new(context);
    if is_unguarded(&frame) {
        return DROP;
    }
    let link = packet::ethernet(&frame);
    leave(&mut frame, link)
}

/// The same at an uplink without Ethernet headers, such as WireGuard or IPIP.
#[classifier]
#[inline(always)]
pub(crate) fn to_wire_ip(context: TcContext) -> i32 {
    let mut frame = Frame::new(context);
    if is_unguarded(&frame) {
        return DROP;
    }
    let link = packet::bare(&frame);
    leave(&mut frame, link)
}

/// At an uplink, packets from outside: notes the client before address translation hides it.
#[classifier]
#[inline(always)]
pub(crate) fn from_wire(context: TcContext) -> i32 {
    let mut frame = Frame::new(context);
    let link = packet::ethernet(&frame);
    enter(&mut frame, link)
}

/// The same at an uplink without Ethernet headers.
#[classifier]
#[inline(always)]
pub(crate) fn from_wire_ip(context: TcContext) -> i32 {
    let mut frame = Frame::new(context);
    let link = packet::bare(&frame);
    enter(&mut frame, link)
}

/// The ether type and the offset of a frame's payload.
type Link = Result<(u16, usize), Malformed>;

#[inline(always)]
fn enter(frame: &mut Frame, link: Link) -> i32 {
    // A pod's packet that enters by a second interface on its way keeps its mark.
    if frame.mark().sender() != 0 {
        return NEXT;
    }
    match link {
        Ok((ethertype::IPV4, start)) => entered::<V4>(frame, start),
        Ok((ethertype::IPV6, start)) => entered::<V6>(frame, start),
        _ => {
            frame.set_mark(Mark::UNKNOWN);
            NEXT
        }
    }
}

/// A function of its own: in a larger one, the compiler would keep a pointer into the context in a
/// register, which the verifier rejects.
#[inline(never)]
fn entered<F: Family>(frame: &mut Frame, start: usize) -> i32 {
    match note::<F>(frame, start) {
        Entered::Noted => NEXT,
        Entered::Unknown => {
            frame.set_mark(Mark::UNKNOWN);
            NEXT
        }
        Entered::Forged => DROP,
    }
}

/// What is known of a packet from outside.
enum Entered {
    /// Its sender is noted.
    Noted,
    /// Nothing.
    Unknown,
    /// A pod of this node can't have sent it.
    Forged,
}

/// Notes the sender of a packet from outside. A piece of a packet that names a pod of this node as its
/// source is dropped: reassembly would join it to that pod's pieces, under its own mark.
#[inline(always)]
fn note<F: Family>(frame: &mut Frame, start: usize) -> Entered {
    const PIECE: u8 = role::FRAGMENT | role::FIRST_FRAGMENT;
    let Ok(packet) = parse::<F>(frame, start) else {
        let forged = F::fixed(frame, start).is_some_and(|it| is_of_a_pod::<F>(&it.source));
        return if forged { Entered::Forged } else { Entered::Unknown };
    };
    if packet.role & PIECE != 0 && is_of_a_pod::<F>(&packet.source) {
        return Entered::Forged;
    }
    if reply::is_about_hidden::<F>(frame, &packet) || !remote::note_client::<F>(frame, &packet) {
        return Entered::Unknown;
    }
    Entered::Noted
}

/// Whether the address is a pod's of this node.
#[inline(always)]
fn is_of_a_pod<F: Family>(address: &F::Address) -> bool {
    POD_ADDRESSES.get_ptr(F::wide(address)).is_some()
}

#[inline(always)]
fn run<H: Hook>(frame: &mut Frame, endpoint: &Endpoint) -> i32 {
    let Ok((kind, start)) = packet::ethernet(frame) else {
        return without_headers::<H>(frame, endpoint);
    };
    match kind {
        ethertype::IPV4 => judged::<H, V4>(frame, endpoint, start),
        ethertype::IPV6 => judged::<H, V6>(frame, endpoint, start),
        _ => other::<H>(frame, endpoint, kind, start),
    }
}

/// The verdict on a frame that is not IP.
#[inline(always)]
pub(crate) fn other<H: Hook>(frame: &Frame, endpoint: &Endpoint, kind: u16, start: usize) -> i32 {
    match kind {
        ethertype::ARP => close::<H>(frame, endpoint, link::arp::<H>(frame, endpoint, start)),
        _ => unreadable::<H>(frame, endpoint, Reason::NotIp, kind),
    }
}

/// The verdict on a frame whose link-layer headers can't be read.
#[inline(always)]
pub(crate) fn without_headers<H: Hook>(frame: &Frame, endpoint: &Endpoint) -> i32 {
    // Neither source nor destination can be checked (semantics P4).
    if endpoint.flags & endpoint::flags::CHECK_SOURCE != 0 {
        return close::<H>(frame, endpoint, Reason::Malformed);
    }
    unreadable::<H>(frame, endpoint, Reason::Malformed, 0)
}

/// The verdict of the endpoint's policy, and what follows from it. Nothing is left to decide for the
/// sender.
#[inline(always)]
pub(crate) fn judged<H: Hook, F: Family>(
    frame: &mut Frame,
    endpoint: &Endpoint,
    start: usize,
) -> i32 {
    frame.set_network(start);
    let Ok(mut packet) = parse::<F>(frame, start) else {
        return unparsable::<H, F>(frame, endpoint, start);
    };
    merge_paths(frame, &mut packet);
    if F::may_be_link_message(&packet) {
        frame.pull();
    }
    let reason = match link::verdict::<H, F>(frame, endpoint, &packet) {
        Some(reason) => {
            if matches!(H::DIRECTION, Direction::Egress) {
                judge::defer_link::<F>(frame, endpoint, &packet);
            }
            reason
        }
        None => judge::judge::<H, F>(frame, endpoint, &packet),
    };
    // The verifier forgets which reason it was, and proves what follows once, not once for each.
    let number = frame.settle(reason as usize) as u32;
    if Reason::is_recorded(number) && must_record::<H, F>(frame, endpoint, &packet) {
        merge_paths(frame, &mut packet);
        flow_record::record::<H, F>(frame, endpoint, &packet, 0, flow_table::entry::<F>);
    }
    report::count(endpoint, H::DIRECTION, number, frame.length());
    if !Reason::is_drop_number(number) {
        return NEXT;
    }
    report::dropped::<H, F>(frame, endpoint, number, &packet);
    DROP
}

/// Whether an allowed packet must be recorded: all but most segments to a pod.
#[inline(always)]
fn must_record<H: Hook, F: Family>(
    frame: &Frame,
    endpoint: &Endpoint,
    packet: &Packet<F::Address>,
) -> bool {
    matches!(H::DIRECTION, Direction::Egress)
        || frame.settle(starts::must_record(endpoint.id, packet) as usize) != 0
}

/// The verdict on a packet whose headers can't be parsed: what can be read of them counts all the
/// same, for every pod (semantics P1, P4).
#[inline(always)]
fn unparsable<H: Hook, F: Family>(frame: &Frame, endpoint: &Endpoint, start: usize) -> i32 {
    match judge::by_fixed_header::<H, F>(frame, endpoint, start) {
        Some(reason) => close::<H>(frame, endpoint, reason),
        None => unreadable::<H>(frame, endpoint, Reason::Malformed, F::ETHERTYPE),
    }
}

/// Whether a packet is to be dropped because of the interface that it entered by; counts it. Asked
/// before the packet is parsed: Linux 5.10 forgets the bounds of an offset during the look-ups.
#[inline(always)]
fn is_unguarded(frame: &Frame) -> bool {
    let unguarded = origin::is_unguarded(frame);
    if unguarded {
        report::count_nobody(Direction::Egress, Reason::Unguarded as u32, frame.length());
    }
    unguarded
}

/// Decides what was deferred of a packet that goes to no pod of this node.
#[inline(always)]
fn leave(frame: &mut Frame, link: Link) -> i32 {
    let mark = frame.mark();
    if matches!(mark.deferred(), Deferred::Nothing) && !mark.is_empty() || frame.is_from_node() {
        return NEXT;
    }
    let passes = match link {
        Ok((ethertype::IPV4, start)) => left::<V4>(frame, start, None, deferred::passes::<V4>),
        Ok((ethertype::IPV6, start)) => left::<V6>(frame, start, None, deferred::passes::<V6>),
        _ => mark.is_empty(),
    };
    if !passes {
        return DROP;
    }
    if !mark.is_empty() {
        // Decided: a tunnel may send the packet on through another interface.
        frame.set_mark(Mark::pod(mark.sender(), Deferred::Nothing));
    }
    NEXT
}

/// Whether a packet may proceed of which something may be left to decide for its sender. `receiver`: the pod
/// whose interface it is.
#[inline(always)]
pub(crate) fn left<F: Family>(
    frame: &mut Frame,
    start: usize,
    receiver: Option<&Endpoint>,
    passes: impl FnOnce(&Frame, Mark, &Packet<F::Address>, Option<&Endpoint>) -> bool,
) -> bool {
    frame.set_network(start);
    let mark = frame.mark();
    // Nothing is deferred of what from_pod could not parse: an isolated pod's is dropped there. And of
    // what it could parse and deferred, nothing has judged yet.
    let Ok(mut packet) = parse::<F>(frame, start) else { return mark.is_empty() };
    merge_paths(frame, &mut packet);

    // A link message that the node did not route stays on the pod's link.
    !matches!(F::link_message(frame, &packet).0, LinkMessage::No)
        || passes(frame, mark, &packet, receiver)
}

/// The verdict on a frame that policy can't judge: only a pod that is not isolated in any
/// direction gets it (semantics P1).
#[inline(always)]
fn unreadable<H: Hook>(frame: &Frame, endpoint: &Endpoint, reason: Reason, kind: u16) -> i32 {
    // The verifier removes this unless the agent has enabled logging.
    debug!(
        frame.context(),
        target: "enforcer_ebpf",
        "interface {}, direction {}: {} bytes of ether type 0x{:x} can't be judged (reason {})",
        endpoint.ifindex,
        H::DIRECTION as u8,
        frame.length(),
        kind,
        reason as u8,
    );
    let isolated = policy::is_isolated(endpoint);
    close::<H>(frame, endpoint, if isolated { reason } else { Reason::NotIsolated })
}

/// Counts a frame of which only the link layer matters, and reports it if it is dropped.
#[inline(always)]
pub(crate) fn close<H: Hook>(frame: &Frame, endpoint: &Endpoint, reason: Reason) -> i32 {
    report::count(endpoint, H::DIRECTION, reason as u32, frame.length());
    if !reason.is_drop() {
        return NEXT;
    }
    report::dropped_frame::<H>(frame, endpoint, reason as u32);
    DROP
}
