//! The programs' coarse clock: jiffies, shifted to buckets of one to two seconds.

use nix::time::{ClockId, clock_getres};

/// Conntrack's default for an established TCP connection (nf_conntrack_tcp_timeout_established).
const TCP_SECONDS: u64 = 432_000;
/// Conntrack's default for a UDP stream (nf_conntrack_udp_timeout_stream is 120; older kernels 180).
const UDP_SECONDS: u64 = 180;
/// Conntrack's default for protocols it knows nothing of (nf_conntrack_generic_timeout).
const OTHER_SECONDS: u64 = 600;

/// The clock's settings for the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    pub(super) shift: u32,
    pub(super) tcp: u32,
    pub(super) udp: u32,
    pub(super) other: u32,
}

impl Clock {
    /// For the running kernel: the coarse clock's resolution is one jiffy.
    pub(super) fn of_this_kernel() -> Self {
        let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)
            .ok()
            .and_then(|it| u64::try_from(it.tv_nsec()).ok())
            .filter(|nanoseconds| *nanoseconds > 0);
        Self::with_frequency(tick.map_or(250, |nanoseconds| 1_000_000_000 / nanoseconds))
    }

    /// For a kernel with `hz` jiffies in a second: buckets of one second or a little more.
    fn with_frequency(hz: u64) -> Self {
        let shift = hz.max(1).next_power_of_two().trailing_zeros();
        let buckets =
            |seconds: u64| u32::try_from(((seconds * hz) >> shift) + 1).unwrap_or(u32::MAX);
        Self {
            shift,
            tcp: buckets(TCP_SECONDS),
            udp: buckets(UDP_SECONDS),
            other: buckets(OTHER_SECONDS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_one_to_two_seconds_and_lifetimes_are_not_cut_short() {
        for hz in [100, 250, 300, 1000] {
            let clock = Clock::with_frequency(hz);
            let bucket = (1u64 << clock.shift) as f64 / hz as f64;
            assert!((1.0..2.0).contains(&bucket), "{hz}: {bucket}");
            assert!(f64::from(clock.tcp) * bucket >= TCP_SECONDS as f64);
            assert!(f64::from(clock.udp) * bucket >= UDP_SECONDS as f64);
        }
    }
}
