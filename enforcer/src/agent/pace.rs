//! When to reconcile under load: the first change at once, later ones together.

use std::time::{Duration, Instant};

/// After a run, changes are gathered for this many times its duration: reconciling takes at most a
/// twentieth of a core, unless [`LONGEST`] limits the pause.
const SHARE: u32 = 19;
const SHORTEST: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_millis(20);

/// The changes that have not been enforced yet, and the end of the pause after the last run.
#[derive(Debug, Default)]
pub(super) struct Pace {
    pause_until: Option<Instant>,
    /// When the first of the changes arrived.
    pending_since: Option<Instant>,
    /// Whether one of them must not wait: a pod is about to start, or has an interface without programs.
    is_urgent: bool,
}

impl Pace {
    /// Notes a change that arrived at this time.
    pub(super) fn note(&mut self, received_at: Instant) {
        let since = self.pending_since.map_or(received_at, |it| it.min(received_at));
        self.pending_since = Some(since);
    }

    /// Notes a change that must not wait.
    pub(super) fn note_urgent(&mut self, received_at: Instant) {
        self.note(received_at);
        self.is_urgent = true;
    }

    /// When to reconcile; `None`: nothing has changed.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.pending_since?;
        Some(self.pause_until.filter(|it| !self.is_urgent && *it > now).unwrap_or(now))
    }

    /// Starts a run: the changes are about to be enforced. Returns when the first one arrived.
    pub(super) fn start(&mut self) -> Option<Instant> {
        self.is_urgent = false;
        self.pending_since.take()
    }

    /// Notes the end of a run.
    pub(super) fn end(&mut self, started_at: Instant, now: Instant) {
        let took = now.saturating_duration_since(started_at);
        self.pause_until = Some(now + (took * SHARE).clamp(SHORTEST, LONGEST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_change_is_enforced_at_once_and_later_ones_together() {
        let start = Instant::now();
        let after = |micros| start + Duration::from_micros(micros);
        let mut pace = Pace::default();
        assert_eq!(pace.due(start), None);
        pace.note(start);
        assert_eq!(pace.due(after(1)), Some(after(1)), "the first one");
        assert_eq!((pace.start(), pace.due(after(2))), (Some(start), None));
        pace.end(start, after(500));
        pace.note(after(600));
        pace.note(after(550));
        pace.note(after(700));
        let due = after(500 + 500 * 19);
        assert_eq!(pace.due(after(700)), Some(due));
        assert_eq!(pace.due(after(20_000)), Some(after(20_000)));
        assert_eq!(pace.start(), Some(after(550)));
    }

    #[test]
    fn pauses_are_limited_and_pod_starts_wait_for_none() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::default();
        pace.end(start, after(1_000));
        pace.note(after(1_001));
        assert_eq!(pace.due(after(1_001)), Some(after(1_000) + LONGEST));
        pace.note_urgent(after(1_002));
        assert_eq!(pace.due(after(1_003)), Some(after(1_003)));
        pace.start();
        pace.end(after(1_003), after(1_003));
        pace.note(after(1_004));
        assert_eq!(pace.due(after(1_004)), Some(after(1_003) + SHORTEST));
    }
}
