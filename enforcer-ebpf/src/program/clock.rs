//! The coarse clock: jiffies in buckets of one to two seconds.

use aya_ebpf::helpers::generated::bpf_jiffies64;

use crate::program::config;

/// The current bucket.
#[inline(always)]
pub(crate) fn now() -> u32 {
    // SAFETY: a helper without arguments.
    (unsafe { bpf_jiffies64() } >> config::clock_shift()) as u32
}
