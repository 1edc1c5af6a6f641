//! How often a thread wakes up under load.

use std::time::{Duration, Instant};

/// The time between two wake-ups under load, and so the longest pause.
const INTERVAL: Duration = Duration::from_millis(5);
/// Wake-ups that may follow each other without a pause.
const BURST: u32 = 20;

/// Wake-ups of a thread that waits for sockets.
///
/// With hundreds of events a second, waking up costs more than the events. A thread that pauses before it
/// waits finds many of them at once. After a silence there is no pause.
#[derive(Debug, Default)]
pub(super) struct Wakeups {
    /// When the allowance will be complete again.
    complete_at: Option<Instant>,
}

impl Wakeups {
    /// Notes that the thread has nothing left to do. Returns the pause before it waits for events.
    pub(super) fn idle(&mut self, now: Instant) -> Duration {
        let complete_at = self.complete_at.map_or(now, |it| it.max(now)) + INTERVAL;
        self.complete_at = Some(complete_at);
        complete_at.saturating_duration_since(now).saturating_sub(INTERVAL * BURST).min(INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pauses of a thread that wakes up as soon as it may and after this time.
    fn pauses(number: usize, apart: Duration) -> Vec<Duration> {
        let (mut wakeups, mut now) = (Wakeups::default(), Instant::now());
        let mut next = || {
            let pause = wakeups.idle(now);
            now += pause + apart;
            pause
        };
        (0..number).map(|_| next()).collect()
    }

    #[test]
    fn few_wakeups_never_pause() {
        assert!(pauses(10_000, INTERVAL).iter().all(Duration::is_zero));
    }

    #[test]
    fn many_wakeups_pause_after_a_burst_and_never_for_long() {
        let pauses = pauses(1_000, Duration::from_micros(100));
        assert!(pauses.iter().take(BURST as usize).all(Duration::is_zero), "{pauses:?}");
        assert!(pauses.iter().all(|it| *it <= INTERVAL));
        let late = &pauses[BURST as usize + 1..];
        assert!(late.iter().all(|it| *it == INTERVAL - Duration::from_micros(100)), "{late:?}");
    }

    #[test]
    fn after_a_silence_there_is_no_pause() {
        let (mut wakeups, start) = (Wakeups::default(), Instant::now());
        for _ in 0..1_000 {
            wakeups.idle(start);
        }
        assert!(!wakeups.idle(start).is_zero());
        let later = start + INTERVAL * 2_000;
        assert!((0..BURST).all(|_| wakeups.idle(later).is_zero()));
    }
}
