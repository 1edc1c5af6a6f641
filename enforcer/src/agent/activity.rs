//! What the agent has done since the log's last line about it.

use std::time::{Duration, Instant};

/// The time between two lines.
const INTERVAL: Duration = Duration::from_secs(60);

/// Changes that were programmed. The first one is due at once: it shows that enforcement has begun.
#[derive(Debug, Default)]
pub(super) struct Activity {
    noted: Noted,
    /// The time of the last line.
    shown_at: Option<Instant>,
}

/// The figures of a line.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noted {
    /// Changes that needed writes.
    pub(super) changes: u64,
    /// Writes to the tables.
    pub(super) writes: usize,
    /// Interfaces whose pod became known.
    pub(super) known_pods: usize,
    /// The longest time from a change's arrival to its last write.
    pub(super) longest: Duration,
}

impl Activity {
    /// Notes a change.
    pub(super) fn programmed(&mut self, writes: usize, took: Duration) {
        self.noted.changes += 1;
        self.noted.writes += writes;
        self.noted.longest = self.noted.longest.max(took);
    }

    /// Notes that the pod of an interface became known.
    pub(super) fn known(&mut self) {
        self.noted.known_pods += 1;
    }

    /// The figures, if there are any and a line is due. Counting begins again then.
    pub(super) fn take(&mut self, now: Instant) -> Option<Noted> {
        let is_due = self.shown_at.is_none_or(|it| now >= it + INTERVAL);
        if !is_due || self.noted == Noted::default() {
            return None;
        }
        self.shown_at = Some(now);
        Some(std::mem::take(&mut self.noted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_sums_up_what_happened() {
        let (mut activity, start) = (Activity::default(), Instant::now());
        assert_eq!(activity.take(start), None, "nothing happened");
        activity.programmed(3, Duration::from_millis(2));
        assert_eq!(activity.take(start).map(|it| it.writes), Some(3), "the first at once");
        for _ in 0..50 {
            activity.programmed(1, Duration::from_millis(7));
            activity.known();
            assert_eq!(activity.take(start + INTERVAL / 2), None);
        }
        let longest = Duration::from_millis(7);
        let expected = Noted { changes: 50, writes: 50, known_pods: 50, longest };
        assert_eq!(activity.take(start + INTERVAL), Some(expected));
        assert_eq!(activity.take(start + INTERVAL * 3), None, "nothing happened since");
    }
}
