//! The programs' coarse clock: jiffies, shifted to buckets of one to two seconds.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use enforcer_ebpf::contract::flow::LIFETIMES;
use enforcer_ebpf::contract::stage::Stage;
use nix::time::{ClockId, clock_getres};

/// The idle timeout of flows in each stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes([Duration; Stage::ALL.len()]);

impl Lifetimes {
    /// Conntrack's timeouts (`net/netfilter/nf_conntrack_proto_*.c`), in the order of
    /// [`Stage::ALL`]. SCTP always has that of established associations.
    pub const DEFAULT: Self = {
        const SECONDS: [u64; Stage::ALL.len()] =
            [120, 60, 300, 432_000, 120, 120, 10, 30, 120, 30, 210, 600];
        let mut all = [Duration::ZERO; Stage::ALL.len()];
        let mut stage = 0;
        while stage < all.len() {
            all[stage] = Duration::from_secs(SECONDS[stage]);
            stage += 1;
        }
        Self(all)
    };

    /// The timeout of a stage.
    #[must_use]
    pub fn of(&self, stage: Stage) -> Duration {
        self.0.get(stage as usize).copied().unwrap_or_default()
    }

    /// The same timeouts, with another one for one stage.
    #[must_use]
    pub fn with(mut self, stage: Stage, lifetime: Duration) -> Self {
        if let Some(it) = self.0.get_mut(stage as usize) {
            *it = lifetime;
        }
        self
    }
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// `stage=seconds` for each stage, separated by commas.
impl fmt::Display for Lifetimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, stage) in Stage::ALL.into_iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{}={}", stage.name(), self.of(stage).as_secs())?;
        }
        Ok(())
    }
}

/// `stage=seconds,…`; the other stages have their defaults.
impl FromStr for Lifetimes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Self::DEFAULT;
        for part in text.split(',') {
            let (name, seconds) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?}: expected STAGE=SECONDS like udp=30"))?;
            let stage =
                Stage::ALL.into_iter().find(|stage| stage.name() == name).ok_or_else(|| {
                    let names = Stage::ALL.map(Stage::name).join(", ");
                    format!("unknown stage {name:?}: expected one of {names}")
                })?;
            let seconds = seconds
                .parse()
                .map_err(|_| format!("{name}: {seconds:?} is not a number of seconds"))?;
            all = all.with(stage, Duration::from_secs(seconds));
        }
        Ok(all)
    }
}

/// The clock's settings for the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    pub(super) shift: u32,
    /// Jiffies a second.
    hz: u64,
    /// The timeouts in buckets, by the low byte of a flow's flags.
    pub(super) lifetimes: [u32; LIFETIMES],
}

impl Clock {
    /// The settings for the running kernel, whose coarse clock has a resolution of one jiffy.
    pub(super) fn of_this_kernel(lifetimes: &Lifetimes) -> Self {
        let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)
            .ok()
            .and_then(|it| u64::try_from(it.tv_nsec()).ok())
            .filter(|nanoseconds| *nanoseconds > 0);
        Self::with_frequency(tick.map_or(250, |nanoseconds| 1_000_000_000 / nanoseconds), lifetimes)
    }

    /// The settings for a kernel with `hz` jiffies a second: buckets of one to two seconds.
    fn with_frequency(hz: u64, lifetimes: &Lifetimes) -> Self {
        let shift = hz.max(1).next_power_of_two().trailing_zeros();
        let mut clock = Self { shift, hz, lifetimes: [0; LIFETIMES] };
        clock.lifetimes = std::array::from_fn(|flags| {
            let flags = u16::try_from(flags).unwrap_or_default();
            clock.buckets(lifetimes.of(Stage::of(flags)))
        });
        clock
    }

    /// The buckets that a duration takes, at most half the clock's range, so that an old flow does
    /// not look like a future one.
    pub(super) fn buckets(&self, duration: Duration) -> u32 {
        let ticks = u128::from(duration.as_secs()) * u128::from(self.hz);
        u32::try_from((ticks >> self.shift) + 1).unwrap_or(u32::MAX).min(u32::MAX / 2)
    }

    /// The duration of some buckets in seconds.
    pub(super) fn seconds(&self, buckets: u32) -> u64 {
        (u64::from(buckets) << self.shift) / self.hz.max(1)
    }

    /// The timeout of a flow with these flags, in buckets.
    pub(super) fn lifetime(&self, flags: u16) -> u32 {
        self.lifetimes.get(usize::from(flags) % LIFETIMES).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use enforcer_ebpf::contract::flow::{FlowState, flags};
    use enforcer_ebpf::contract::verdict::Direction;

    #[test]
    fn buckets_are_one_to_two_seconds_and_lifetimes_are_not_cut_short() {
        let udp = FlowState::new(0, Direction::Egress, 17).flags;
        for hz in [100, 250, 300, 1000] {
            let lifetimes = Lifetimes::DEFAULT;
            let clock = Clock::with_frequency(hz, &lifetimes);
            let bucket = (1u64 << clock.shift) as f64 / hz as f64;
            assert!((1.0..2.0).contains(&bucket), "{hz}: {bucket}");
            for (flags, stage) in [
                (udp, Stage::Udp),
                (udp | flags::ANSWERED, Stage::UdpStream),
                (flags::ESTABLISHED, Stage::TcpEstablished),
                (flags::RESET, Stage::TcpClose),
            ] {
                let seconds = lifetimes.of(stage).as_secs_f64();
                let lives = f64::from(clock.lifetime(flags)) * bucket;
                assert!((seconds..seconds + 2.0 * bucket).contains(&lives), "{stage:?}: {lives}");
            }
            let forever = lifetimes.with(Stage::TcpEstablished, Duration::MAX);
            let clock = Clock::with_frequency(hz, &forever);
            assert_eq!(clock.lifetime(flags::ESTABLISHED), u32::MAX / 2);
        }
    }

    #[test]
    fn lifetimes_are_read_as_they_are_written() {
        let some: Lifetimes = "udp=5,tcp-close=1".parse().unwrap();
        assert_eq!(some.of(Stage::Udp), Duration::from_secs(5));
        assert_eq!(some.of(Stage::TcpClose), Duration::from_secs(1));
        assert_eq!(some.of(Stage::Other), Lifetimes::DEFAULT.of(Stage::Other));
        assert_eq!(some.to_string().parse(), Ok(some));
        for wrong in ["", "udp", "udp=", "udp=x", "udp=-1", "tcp=5", "udp=5;icmp=5"] {
            assert!(wrong.parse::<Lifetimes>().is_err(), "{wrong}");
        }
    }
}
