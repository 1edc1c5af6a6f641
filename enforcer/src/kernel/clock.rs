//! The programs' coarse clock: jiffies, shifted to buckets of one to two seconds.

use std::time::Duration;

use nix::time::{ClockId, clock_getres};

/// For how long a flow is remembered of which no packet is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// TCP (nf_conntrack_tcp_timeout_established).
    pub tcp: Duration,
    /// UDP (nf_conntrack_udp_timeout_stream).
    pub udp: Duration,
    /// Others (nf_conntrack_generic_timeout).
    pub other: Duration,
}

impl Lifetimes {
    /// Conntrack's; for UDP the 180 seconds of older kernels, where newer ones have 120.
    pub const DEFAULT: Self = Self {
        tcp: Duration::from_secs(432_000),
        udp: Duration::from_secs(180),
        other: Duration::from_secs(600),
    };
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self::DEFAULT
    }
}

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
    pub(super) fn of_this_kernel(lifetimes: Lifetimes) -> Self {
        let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)
            .ok()
            .and_then(|it| u64::try_from(it.tv_nsec()).ok())
            .filter(|nanoseconds| *nanoseconds > 0);
        Self::with_frequency(tick.map_or(250, |nanoseconds| 1_000_000_000 / nanoseconds), lifetimes)
    }

    /// For a kernel with `hz` jiffies in a second: buckets of one second or a little more.
    fn with_frequency(hz: u64, lifetimes: Lifetimes) -> Self {
        let shift = hz.max(1).next_power_of_two().trailing_zeros();
        // Half the clock's range, so that a silent flow is not taken for one of the future.
        let buckets = |lifetime: Duration| {
            let ticks = u128::from(lifetime.as_secs()) * u128::from(hz);
            u32::try_from((ticks >> shift) + 1).unwrap_or(u32::MAX).min(u32::MAX / 2)
        };
        Self {
            shift,
            tcp: buckets(lifetimes.tcp),
            udp: buckets(lifetimes.udp),
            other: buckets(lifetimes.other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_one_to_two_seconds_and_lifetimes_are_not_cut_short() {
        for hz in [100, 250, 300, 1000] {
            let lifetimes = Lifetimes::DEFAULT;
            let clock = Clock::with_frequency(hz, lifetimes);
            let bucket = (1u64 << clock.shift) as f64 / hz as f64;
            assert!((1.0..2.0).contains(&bucket), "{hz}: {bucket}");
            assert!(f64::from(clock.tcp) * bucket >= lifetimes.tcp.as_secs_f64());
            assert!(f64::from(clock.udp) * bucket >= lifetimes.udp.as_secs_f64());
            let forever = Lifetimes { tcp: Duration::MAX, ..lifetimes };
            assert_eq!(Clock::with_frequency(hz, forever).tcp, u32::MAX / 2);
        }
    }
}
