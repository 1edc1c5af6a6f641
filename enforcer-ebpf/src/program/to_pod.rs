//! Packets to a pod, in several programs ([`parts`]): the short way of most packets, and what it calls last.
//!
//! The programs that call others last call no functions: before Linux 6.0, ARM64 can't do both in one
//! program.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use enforcer_ebpf::contract::endpoint::Endpoint;
use enforcer_ebpf::contract::lookup;
use enforcer_ebpf::contract::mark::{Deferred, Mark};
use enforcer_ebpf::contract::parts;
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use enforcer_ebpf::packet::{self, Bytes as _, ethertype};

use crate::program::family::Family;
use crate::program::family4::V4;
use crate::program::family6::V6;
use crate::program::frame::{DROP, Frame, NEXT};
use crate::program::hook::{FromPod, Hook, ToPod};
use crate::program::hooks::{close, judged, left, other, without_headers};
use crate::program::last_call::call_last;
use crate::program::maps::KernelTables;
use crate::program::{deferred, node, origin, policy, report, segment};

/// At a pod's interface, packets to the pod: its ingress policy, and what the sender's hook
/// deferred.
#[classifier]
#[inline(always)]
pub(crate) fn to_pod(context: TcContext) -> i32 {
    let frame = Frame::new(context);
    let Some(endpoint) = lookup::endpoint_or_closed(&KernelTables, frame.interface()) else {
        let mark = frame.mark();
        if frame.is_from_node() || !mark.is_empty() && matches!(mark.deferred(), Deferred::Nothing)
        {
            return NEXT;
        }
        call_last::<{ parts::DEFERRED }>(&frame);
        // Nobody's: no pod's policy is left to protect.
        return NEXT;
    };
    if frame.is_from_node() {
        if !node::is_plain(&frame, endpoint) {
            call_last::<{ parts::FROM_NODE }>(&frame);
        }
        return count(&frame, endpoint, Reason::Node as u32);
    }
    if let Some(number) = segment::verdict::<ToPod>(&frame, endpoint) {
        return count(&frame, endpoint, number);
    }
    let mark = frame.mark();
    if mark.is_empty() || is_deferred(mark, endpoint) {
        call_last::<{ parts::DEFERRED }>(&frame);
        return without_parts(&frame, endpoint);
    }
    general(&frame, endpoint)
}

/// Packets that the node itself sent: for the pod, or flooded by a bridge that knows no port for them
/// (semantics A2, P4).
#[classifier]
#[inline(always)]
pub(crate) fn to_pod_from_node(context: TcContext) -> i32 {
    let mut frame = Frame::new(context);
    let Some(endpoint) = lookup::endpoint_or_closed(&KernelTables, frame.interface()) else {
        return NEXT;
    };
    if let Some(reason) = node::misdirected(&mut frame, endpoint) {
        return close::<ToPod>(&frame, endpoint, reason);
    }
    if endpoint.flags & (FromPod::ISOLATED | FromPod::CLOSED) != 0 {
        node::record(&mut frame, endpoint);
    }
    count(&frame, endpoint, Reason::Node as u32)
}

/// Packets without a mark, and those of which something is left to decide for their sender.
#[classifier]
#[inline(always)]
pub(crate) fn to_pod_deferred(context: TcContext) -> i32 {
    let mut frame = Frame::new(context);
    let endpoint = lookup::endpoint_or_closed(&KernelTables, frame.interface());
    if origin::is_unguarded_in_place(&frame) {
        let Some(endpoint) = endpoint else {
            report::count_nobody(Direction::Egress, Reason::Unguarded as u32, frame.length());
            return DROP;
        };
        return close::<ToPod>(&frame, endpoint, Reason::Unguarded);
    }
    let link = packet::ethernet(&frame);
    let passes = match link {
        Ok((ethertype::IPV4, start)) => {
            left::<V4>(&mut frame, start, endpoint, deferred::passes_in_place::<V4>)
        }
        Ok((ethertype::IPV6, start)) => {
            left::<V6>(&mut frame, start, endpoint, deferred::passes_in_place::<V6>)
        }
        _ => frame.mark().is_empty(),
    };
    if !passes {
        return DROP;
    }
    let mark = frame.mark();
    if !mark.is_empty() {
        // Decided: a tunnel may send the packet on through another interface.
        frame.set_mark(Mark::pod(mark.sender(), Deferred::Nothing));
    }
    let Some(endpoint) = endpoint else { return NEXT };
    match segment::verdict::<ToPod>(&frame, endpoint) {
        Some(number) => count(&frame, endpoint, number),
        None => general(&frame, endpoint),
    }
}

/// The verdict of ingress policy on all but IPv6 packets.
#[classifier]
#[inline(always)]
pub(crate) fn to_pod_general(context: TcContext) -> i32 {
    by_policy::<V4>(context)
}

/// The verdict of ingress policy on IPv6 packets.
#[classifier]
#[inline(always)]
pub(crate) fn to_pod_general6(context: TcContext) -> i32 {
    by_policy::<V6>(context)
}

/// The verdict of ingress policy on packets of one family, and on frames that are not IP.
#[inline(always)]
fn by_policy<F: Family>(context: TcContext) -> i32 {
    let mut frame = Frame::new(context);
    let Some(endpoint) = lookup::endpoint_or_closed(&KernelTables, frame.interface()) else {
        return NEXT;
    };
    let Ok((kind, start)) = packet::ethernet(&frame) else {
        return without_headers::<ToPod>(&frame, endpoint);
    };
    if kind == F::ETHERTYPE {
        judged::<ToPod, F>(&mut frame, endpoint, start)
    } else {
        other::<ToPod>(&frame, endpoint, kind, start)
    }
}

/// Counts a packet with the reason of this number.
#[inline(always)]
fn count(frame: &Frame, endpoint: &Endpoint, number: u32) -> i32 {
    report::count(endpoint, Direction::Ingress, number, frame.length());
    if Reason::is_drop_number(number) { DROP } else { NEXT }
}

/// Hands a packet that the node did not send on to ingress policy.
#[inline(always)]
fn general(frame: &Frame, endpoint: &Endpoint) -> i32 {
    let kind = packet::ethernet(frame).map_or(0, |(kind, _)| kind);
    if frame.settle(kind as usize) == ethertype::IPV6 as usize {
        call_last::<{ parts::TO_POD6 }>(frame);
    } else {
        call_last::<{ parts::TO_POD }>(frame);
    }
    without_parts(frame, endpoint)
}

/// Whether something is left to decide of a packet to a pod, other than its own.
#[inline(always)]
fn is_deferred(mark: Mark, endpoint: &Endpoint) -> bool {
    !matches!(mark.deferred(), Deferred::Nothing) && mark.sender() != endpoint.id
}

/// What happens to a packet that the node did not send if its part is missing: only a pod that no policy isolates
/// gets it.
#[inline(always)]
fn without_parts(frame: &Frame, endpoint: &Endpoint) -> i32 {
    let reason = match policy::is_isolated(endpoint) {
        true => Reason::Unrepresented,
        false => Reason::NotIsolated,
    };
    count(frame, endpoint, reason as u32)
}
