//! Calls of programs by programs, with a constant place.
//!
//! In assembly, so that the compiler joins no two of them: of a call with a constant place the kernel makes a
//! direct jump. An indirect one takes longer, above all where the processor needs retpolines.

use crate::program::frame::Frame;
use crate::program::maps::PARTS;

/// Calls a part of the program, by its place in [`PARTS`]. Returns only if the table of parts is empty: its agent
/// was killed, and kept it by no pin.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) fn call_last<const PART: u32>(frame: &Frame) {
    use aya_ebpf::EbpfContext as _;
    use aya_ebpf::bindings::bpf_func_id::BPF_FUNC_tail_call;

    // SAFETY: `bpf_tail_call` with the program's own context, a table of programs, and a place in it. A call
    // overwrites these registers, and memory.
    unsafe {
        core::arch::asm!(
            "r3 = {part}",
            "call {helper}",
            part = const PART,
            helper = const BPF_FUNC_tail_call,
            inlateout("r1") frame.context().as_ptr() => _,
            inlateout("r2") &raw const PARTS => _,
            lateout("r0") _,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
        );
    }
}

/// The same for the host's compiler, which checks the programs and knows no registers of theirs.
#[cfg(not(target_arch = "bpf"))]
pub(crate) fn call_last<const PART: u32>(frame: &Frame) {
    // SAFETY: the context is the program's own.
    unsafe { PARTS.tail_call(frame.context(), PART) };
}
