//! Settings that the agent chooses when it loads the programs. The verifier sees constants.

use core::ptr;

use enforcer_ebpf::contract::flow::LIFETIMES;
use enforcer_ebpf::contract::networks::Places;

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
    /// Whether `cb[1]` has the interface that the packet entered by. 0 (no), except for test runs on
    /// kernels where these can't set `ingress_ifindex`.
    ORIGIN_IN_CB, origin_in_cb, 0
);
setting!(
    /// Whether `cb[2]` stands for `tc_index`. 0 (no), except for test runs, which can't set it.
    INDEX_IN_CB, index_in_cb, 0
);
setting!(
    /// The bits of the highest CPU number.
    CPU_BITS, cpu_bits, 9
);
setting!(
    /// Jiffies are shifted right by this much to make a bucket of the coarse clock.
    CLOCK_SHIFT, clock_shift, 9
);
setting!(
    /// Whether flows are being moved to tables of another size, and may be in either. The programs
    /// that stay are loaded without it.
    IS_MOVING, is_moving, 0
);
setting!(
    /// The number of groups of each flow table.
    FLOW_GROUPS, flow_groups, 1
);
setting!(
    /// The number of groups of each flow table of another size.
    OTHER_FLOW_GROUPS, other_flow_groups, 1
);
/// See [`Places::secrets`].
#[unsafe(no_mangle)]
static NETWORK_SECRETS: [u64; 2] = Places::KNOWN.secrets;

/// The places of IPv6 networks.
#[inline(always)]
pub(crate) fn network_places() -> Places {
    // SAFETY: a valid static; volatile, because the loader replaces its value.
    let secret = |at: usize| unsafe { ptr::read_volatile(&raw const NETWORK_SECRETS[at]) };
    Places { secrets: [secret(0), secret(1)] }
}

/// See [`flow_secret`].
#[unsafe(no_mangle)]
static FLOW_HASH_SECRET: u64 = 0xc2b2_ae3d_27d4_eb4f;

/// The secret of the flows' hash ([`enforcer_ebpf::contract::flow_table::Key::hash`]).
#[inline(always)]
pub(crate) fn flow_secret() -> u64 {
    // SAFETY: a valid static; volatile, because the loader replaces its value.
    unsafe { ptr::read_volatile(&raw const FLOW_HASH_SECRET) }
}

/// Idle timeouts in buckets, by the low byte of [`enforcer_ebpf::contract::flow::flags`].
#[unsafe(no_mangle)]
static FLOW_LIFETIMES: [u32; LIFETIMES] = [u32::MAX / 2; LIFETIMES];

/// The idle timeout of a flow with these flags, in buckets. A table, because the verifier would
/// follow every branch of a decision to the program's end.
#[inline(always)]
pub(crate) fn lifetime(flags: usize) -> u32 {
    // SAFETY: the index is within the table; volatile, because the loader replaces its values.
    unsafe { ptr::read_volatile((&raw const FLOW_LIFETIMES[0]).add(flags % LIFETIMES)) }
}
