//! Whether the loop that carries changes to the kernel still comes round.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the loop comes round though nothing happens.
pub(super) const PULSE: Duration = Duration::from_secs(1);
/// For how long it may be away: compiling for the largest clusters takes seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// When the loop last came round.
#[derive(Debug)]
pub(super) struct Watchdog(Mutex<Instant>);

impl Watchdog {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(now))
    }

    /// The loop has come round.
    pub(super) fn beat(&self, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// For how long the loop has been away.
    pub(super) fn age(&self, now: Instant) -> Duration {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        now.saturating_duration_since(last)
    }

    /// Whether the loop comes round.
    ///
    /// # Errors
    /// It does not: for how long.
    pub(super) fn check(&self, now: Instant) -> Result<(), String> {
        let away = self.age(now);
        if away <= LIMIT {
            return Ok(());
        }
        Err(format!(
            "the loop that carries changes to the kernel has not come round for {} seconds: what it \
             enforced stays in force, but changes have no effect; the agent should be restarted",
            away.as_secs()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stays_away_is_missed() {
        let start = Instant::now();
        let watchdog = Watchdog::new(start);
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(watchdog.check(after(60)), Ok(()));
        let why = watchdog.check(after(61)).unwrap_err();
        assert!(why.contains("for 61 seconds"), "{why}");
        watchdog.beat(after(61));
        assert_eq!(watchdog.check(after(121)), Ok(()));
        assert!(watchdog.check(after(122)).is_err());
    }
}
