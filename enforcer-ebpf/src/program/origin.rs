//! Packets from interfaces without our programs (semantics C6).
//!
//! Pods that start while no agent runs get no programs. The programs of others, which outlive the
//! agent, recognise what such a pod sends: it entered by an interface that the agent does not know, and
//! no hook has marked it. The mark alone is no proof, since another program may have cleared it.

use enforcer_ebpf::contract::lookup;
use enforcer_ebpf::contract::table::DENY_UNGUARDED;

use crate::program::frame::Frame;
use crate::program::maps::{KernelTables, ORIGINS};

/// Whether a packet entered by an interface without our programs, and the agent wants such packets to
/// be dropped.
#[inline(always)]
pub(crate) fn is_unguarded(frame: &Frame) -> bool {
    frame.mark().is_empty() && is_unknown(frame.origin()) != 0
}

/// The same without calling a function.
#[inline(always)]
pub(crate) fn is_unguarded_in_place(frame: &Frame) -> bool {
    frame.mark().is_empty() && !is_guarded(frame.origin())
}

/// Whether packets that entered by this interface are to be dropped. A function of its own, so that the
/// look-ups leave the callers' registers alone: Linux 5.10 forgets the bounds of spilled offsets.
#[inline(never)]
fn is_unknown(origin: u32) -> u32 {
    u32::from(!is_guarded(origin))
}

#[inline(always)]
fn is_guarded(origin: u32) -> bool {
    origin == 0
        || !is_listed(DENY_UNGUARDED)
        || is_listed(origin)
        || lookup::endpoint(&KernelTables, origin).is_some()
}

/// The endpoint id of the pod by whose interface a packet entered; 0 if it was none.
#[inline(always)]
pub(crate) fn pod(frame: &Frame) -> u32 {
    lookup::endpoint(&KernelTables, frame.origin()).map_or(0, |endpoint| endpoint.id)
}

#[inline(always)]
fn is_listed(key: u32) -> bool {
    // SAFETY: the value is not read.
    unsafe { ORIGINS.get(key) }.is_some()
}
