//! The short way to a pod, for most packets: TCP segments within a connection from an end that the
//! mark does not replace, to a pod that is not isolated or whose policy allows them.
//!
//! It gives the general way's verdict or none. Everything else, and every drop, goes the general way.

use enforcer_ebpf::contract::endpoint::Endpoint;
use enforcer_ebpf::contract::lookup;
use enforcer_ebpf::contract::mark::Deferred;
use enforcer_ebpf::contract::verdict::Reason;
use enforcer_ebpf::packet::{Bytes as _, ethertype, protocol};

use crate::program::family::{Family, V4, V6};
use crate::program::flow_record;
use crate::program::frame::Frame;
use crate::program::hook::{Hook as _, ToPod};
use crate::program::maps::KernelTables;

/// The reason why the packet passes. `None`: the general way decides.
#[inline(always)]
pub(crate) fn passes(frame: &Frame, endpoint: &Endpoint) -> Option<Reason> {
    match frame.view::<14>(0)?.u16(12) {
        ethertype::IPV4 => passes_in::<V4>(frame, endpoint),
        ethertype::IPV6 => passes_in::<V6>(frame, endpoint),
        _ => None,
    }
}

#[inline(always)]
fn passes_in<F: Family>(frame: &Frame, endpoint: &Endpoint) -> Option<Reason> {
    let packet = F::segment(frame)?;
    let mark = frame.mark();
    if mark.is_empty()
        || !matches!(mark.deferred(), Deferred::Nothing)
        || mark.sender() == endpoint.id
        || !F::is_own(endpoint, &packet.destination)
        || endpoint.flags & ToPod::CLOSED != 0
    {
        return None;
    }
    let reason = if endpoint.flags & ToPod::ISOLATED == 0 {
        Reason::NotIsolated
    } else {
        let entry = F::entry(endpoint.order(), &packet.source);
        // A pod of this node is the one that the mark names (semantics P4).
        if entry.may_hide_another() || !is_senders::<F>(mark.sender(), &packet.source) {
            return None;
        }
        let cell = lookup::cell(&KernelTables, ToPod::row(endpoint), entry.index())?;
        if !lookup::cell_allows(&KernelTables, cell, protocol::TCP, packet.destination_port) {
            return None;
        }
        Reason::Policy
    };
    flow_record::record::<ToPod, F>(frame, endpoint, &packet, 0);
    Some(reason)
}

/// Whether the source is the sender's. `sender`: the endpoint id of the mark, 0 for an end outside.
#[inline(always)]
fn is_senders<F: Family>(sender: u32, source: &F::Address) -> bool {
    sender == 0
        || lookup::sender(&KernelTables, sender).is_some_and(|sender| F::is_own(sender, source))
}
