//! What the agent sets when it loads the programs; the verifier sees constants.

use core::ptr;

use enforcer_ebpf::flow::LIFETIMES;

macro_rules! setting {
    ($(#[$doc:meta])* $name:ident, $getter:ident, $default:expr) => {
        #[unsafe(no_mangle)]
        static $name: u32 = $default;

        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $getter() -> u32 {
            // SAFETY: a valid static; volatile, because the loader replaces its value.
            unsafe { ptr::read_volatile(&raw const $name) }
        }
    };
}

setting!(
    /// The bits of `skb->mark` that are ours; clear of kube-proxy's 0x4000 and 0x8000.
    MARK_MASK, mark_mask, 0xfffe_0000
);
setting!(
    /// The lowest of those bits.
    MARK_SHIFT, mark_shift, 17
);
setting!(
    /// Whether `cb[1]` tells if the packet came in by an interface: 0 (no), but for test runs on
    /// kernels that let these set no `ingress_ifindex`.
    ORIGIN_IN_CB, origin_in_cb, 0
);
setting!(
    /// Jiffies are shifted right by this much to make a bucket of the coarse clock.
    CLOCK_SHIFT, clock_shift, 9
);
setting!(
    /// Whether flows are on their way to tables of another layout: then they may be in either. The
    /// programs that are there in the end are loaded without.
    IS_MOVING, is_moving, 0
);
/// The buckets for which a silent flow lives, by its [`enforcer_ebpf::flow::marks`].
#[unsafe(no_mangle)]
static FLOW_LIFETIMES: [u32; LIFETIMES] = [u32::MAX / 2; LIFETIMES];

/// The buckets for which a silent flow with these marks (their low byte) lives. A table, because
/// the verifier would follow every branch of a decision to the program's end.
#[inline(always)]
pub(crate) fn lifetime(marks: usize) -> u32 {
    // SAFETY: the index is within the table; volatile, because the loader replaces its values.
    unsafe { ptr::read_volatile((&raw const FLOW_LIFETIMES[0]).add(marks % LIFETIMES)) }
}
