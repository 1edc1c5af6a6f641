//! Whether a segment to a pod can leave the flow tables alone ([`enforcer_ebpf::contract::starts`]).

use core::ptr;

use enforcer_ebpf::contract::endpoint::Endpoint;
use enforcer_ebpf::contract::flow::flags;
use enforcer_ebpf::contract::starts::Starts;
use enforcer_ebpf::packet::{Packet, protocol, role};

use crate::program::maps::STARTS;
use crate::program::{clock, config};

/// Notes that the pod has answered a SYN: the end of the handshake must be recorded.
#[inline(always)]
pub(crate) fn note_answer(endpoint: &Endpoint, now: u32) {
    let Some(starts) = STARTS.get_ptr_mut(endpoint.id) else { return };
    // SAFETY: a live map value; every writer writes the same.
    note(unsafe { &raw mut (*starts).answered }, now);
}

/// Notes that a packet of the pod is dropped because its flow was not found. If the connection is one
/// that policy allows, the other end repeats its segment, and that is recorded.
#[inline(always)]
pub(crate) fn note_miss(endpoint: &Endpoint, number: u8, role: u8, now: u32) {
    // An answer to a SYN needs no help, since the SYN was recorded; a reset begins nothing.
    if number != protocol::TCP || role & (role::ACCEPTS | role::RESETS) != 0 {
        return;
    }
    let Some(starts) = STARTS.get_ptr_mut(endpoint.id) else { return };
    // SAFETY: as above.
    note(unsafe { &raw mut (*starts).missed }, now);
}

#[inline(always)]
fn note(bucket: *mut u32, now: u32) {
    // SAFETY: the callers' pointers are to live map values; racing programs read and write whole words.
    unsafe {
        if ptr::read_volatile(bucket) != now {
            ptr::write_volatile(bucket, now);
        }
    }
}

/// Whether a packet to a pod must be recorded if it is allowed; not 0 if so. Without branches: the
/// verifier would follow each to the program's end.
#[inline(always)]
pub(crate) fn must_record<A>(endpoint: u32, packet: &Packet<A>) -> u32 {
    let Some(starts) = STARTS.get_ptr(endpoint) else { return 1 };
    // SAFETY: a live map value, read as one word.
    let Starts { answered, missed } = unsafe { ptr::read_volatile(starts) };
    let now = clock::now();
    let is_other = u32::from(packet.protocol ^ protocol::TCP | packet.role ^ role::ANSWERS);
    is_other | is_recent(missed, now) | is_recent(answered, now) & !u32::from(packet.has_data)
}

/// 1 if the bucket is at most as long ago as a flow lives whose handshake is not complete, else 0.
#[inline(always)]
fn is_recent(bucket: u32, now: u32) -> u32 {
    let window = config::lifetime(flags::ANSWERED as usize);
    let elapsed = i64::from(now.wrapping_sub(bucket).cast_signed());
    let left = i64::from(window) - elapsed;
    // The sign.
    (left >> 63) as u32 & 1 ^ 1
}
