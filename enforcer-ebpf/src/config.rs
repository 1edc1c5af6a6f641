//! What the agent sets when it loads the programs; the verifier sees constants.

use core::ptr;

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
    /// Buckets after which a silent TCP flow is forgotten.
    TCP_BUCKETS, tcp_buckets, 210_937
);
setting!(
    /// Buckets after which a silent UDP flow is forgotten.
    UDP_BUCKETS, udp_buckets, 88
);
setting!(
    /// Buckets after which any other silent flow is forgotten.
    OTHER_BUCKETS, other_buckets, 293
);
