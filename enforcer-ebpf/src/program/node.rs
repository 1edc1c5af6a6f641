//! Packets that the node itself sent (semantics A2).

use enforcer_ebpf::contract::endpoint::Endpoint;
use enforcer_ebpf::contract::flow::flags;
use enforcer_ebpf::contract::verdict::Reason;
use enforcer_ebpf::packet::{self, Bytes as _, ethertype};

use crate::program::family::Family;
use crate::program::family4::V4;
use crate::program::family6::V6;
use crate::program::frame::Frame;
use crate::program::hook::{FromPod, Hook as _, ToPod};
use crate::program::parse::{merge_paths, parse};
use crate::program::segment::NETWORK;
use crate::program::{flow_record, flow_table, judge};

/// Whether a packet that the node itself sent is meant for the pod and needs no record.
#[inline(always)]
pub(crate) fn is_plain(frame: &Frame, endpoint: &Endpoint) -> bool {
    if endpoint.flags & (FromPod::ISOLATED | FromPod::CLOSED) != 0 {
        return false;
    }
    match frame.view::<NETWORK>(0).map(|header| header.u16(NETWORK - 2)) {
        Some(ethertype::IPV4) => is_for::<V4>(frame, endpoint),
        Some(ethertype::IPV6) => is_for::<V6>(frame, endpoint),
        _ => false,
    }
}

#[inline(always)]
fn is_for<F: Family>(frame: &Frame, endpoint: &Endpoint) -> bool {
    F::fixed(frame, NETWORK).is_some_and(|it| F::is_own(endpoint, &it.destination))
}

/// The reason to drop a packet that the node itself sent: it is not meant for the pod, or its header
/// can't be read.
#[inline(always)]
pub(crate) fn misdirected(frame: &mut Frame, endpoint: &Endpoint) -> Option<Reason> {
    match packet::ethernet(frame) {
        Ok((ethertype::IPV4, start)) => misdirected_of::<V4>(frame, endpoint, start),
        Ok((ethertype::IPV6, start)) => misdirected_of::<V6>(frame, endpoint, start),
        _ => None,
    }
}

#[inline(always)]
fn misdirected_of<F: Family>(
    frame: &mut Frame,
    endpoint: &Endpoint,
    start: usize,
) -> Option<Reason> {
    if F::fixed(frame, start).is_none() {
        frame.pull();
    }
    judge::by_fixed_header::<ToPod, F>(frame, endpoint, start)
}

/// Records a packet that the node itself sent to an egress-isolated pod: the reply may go to an
/// address that is not the node's, as a transparent proxy's (semantics A3).
#[inline(always)]
pub(crate) fn record(frame: &mut Frame, endpoint: &Endpoint) {
    match packet::ethernet(frame) {
        Ok((ethertype::IPV4, start)) => record_of::<V4>(frame, endpoint, start),
        Ok((ethertype::IPV6, start)) => record_of::<V6>(frame, endpoint, start),
        _ => {}
    }
}

#[inline(always)]
fn record_of<F: Family>(frame: &mut Frame, endpoint: &Endpoint, start: usize) {
    let Ok(mut packet) = parse::<F>(frame, start) else { return };
    merge_paths(frame, &mut packet);
    if !F::entry(endpoint.order(), &packet.source).is_node() {
        flow_record::record::<ToPod, F>(
            frame,
            endpoint,
            &packet,
            flags::NODE,
            flow_table::entry::<F>,
        );
    }
}
