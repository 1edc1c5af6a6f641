//! Whether a counter has risen lately.

use std::time::{Duration, Instant};

/// The time for which a rise counts as recent.
const RECENT: Duration = Duration::from_secs(600);

/// A counter that is looked at now and then.
#[derive(Debug, Default)]
pub struct Rise {
    before: u64,
    risen_at: Option<Instant>,
}

impl Rise {
    /// Notes the counter's value. Returns whether it has risen in the last ten minutes; a counter
    /// that is above zero when it is first looked at has.
    pub fn note(&mut self, value: u64, now: Instant) -> bool {
        if value > self.before {
            self.risen_at = Some(now);
        }
        self.before = value;
        self.risen_at.is_some_and(|at| now.saturating_duration_since(at) < RECENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rise_is_recent_for_ten_minutes() {
        let (mut rise, start) = (Rise::default(), Instant::now());
        let minute = |n: u64| start + Duration::from_secs(60 * n);
        assert!(!rise.note(0, minute(0)));
        assert!(rise.note(3, minute(5)) && rise.note(3, minute(14)));
        assert!(!rise.note(3, minute(15)));
        assert!(rise.note(4, minute(30)));
        // Counters begin at zero again with new tables.
        assert!(rise.note(1, minute(31)) && !rise.note(1, minute(40)));
    }
}
