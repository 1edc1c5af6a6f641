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
    if !frame.mark().is_empty() {
        return false;
    }
    let origin = frame.origin();
    if origin == 0 || !is_listed(DENY_UNGUARDED) || is_listed(origin) {
        return false;
    }
    lookup::endpoint(&KernelTables, origin).is_none()
}

#[inline(always)]
fn is_listed(key: u32) -> bool {
    // SAFETY: the value is not read.
    unsafe { ORIGINS.get(&key) }.is_some()
}
