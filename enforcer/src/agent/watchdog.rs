//! The watchdog of the main loop.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest time between two runs of the loop when nothing happens.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// The longest time that a run may take: compiling for the largest clusters takes seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// The time of the main loop's last run.
#[derive(Debug)]
pub(super) struct Watchdog(Mutex<Instant>);

impl Watchdog {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(now))
    }

    /// Notes that the loop runs.
    pub(super) fn reset(&self, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// The time since the loop last ran.
    pub(super) fn age(&self, now: Instant) -> Duration {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        now.saturating_duration_since(last)
    }

    /// Checks that the loop runs.
    ///
    /// # Errors
    /// The loop is stuck; the text has its age.
    pub(super) fn check(&self, now: Instant) -> Result<(), String> {
        let age = self.age(now);
        if age <= LIMIT {
            return Ok(());
        }
        Err(format!(
            "the main loop has not run for {} seconds: the last enforced state stays active, but \
             changes have no effect; restart the agent",
            age.as_secs()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stuck_loop_is_reported() {
        let start = Instant::now();
        let watchdog = Watchdog::new(start);
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(watchdog.check(after(60)), Ok(()));
        let error = watchdog.check(after(61)).unwrap_err();
        assert!(error.contains("for 61 seconds"), "{error}");
        watchdog.reset(after(61));
        assert_eq!(watchdog.check(after(121)), Ok(()));
        assert!(watchdog.check(after(122)).is_err());
    }
}
