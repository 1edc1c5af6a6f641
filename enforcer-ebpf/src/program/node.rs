//! Packets that the node itself sent (semantics A2).

use enforcer_ebpf::contract::endpoint::Endpoint;
use enforcer_ebpf::contract::flow::flags;
use enforcer_ebpf::contract::verdict::Reason;
use enforcer_ebpf::packet::{self, ethertype};

use crate::program::family::Family;
use crate::program::family4::V4;
use crate::program::family6::V6;
use crate::program::frame::Frame;
use crate::program::hook::ToPod;
use crate::program::parse::{merge_paths, parse};
use crate::program::{flow_record, flow_table, judge};

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
