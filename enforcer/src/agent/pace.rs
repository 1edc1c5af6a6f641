//! When to reconcile under load: the first change at once, later ones together.

use std::time::{Duration, Instant};

/// After a run, changes are gathered for this many times its duration: reconciling takes at most a
/// twentieth of a core for changes elsewhere and as much for those of this node's pods, unless
/// [`LONGEST`] limits the pause.
const SHARE: u32 = 19;
const SHORTEST: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_millis(20);

/// The pods that a change may concern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Concern {
    /// Pods of other nodes, as peers of this node's pods.
    Elsewhere,
    /// This node's pods. Waits only for the pause after another run for these, so that changes elsewhere
    /// don't delay it, however many there are.
    Here,
    /// A pod that is about to start, or has an interface without programs. Waits for nothing.
    Start,
}

/// The changes that have not been enforced yet, and the pauses after the last runs.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The end of the pause after the last run.
    pause_until: Option<Instant>,
    /// The end of the pause after the last run for this node's pods.
    pause_here_until: Option<Instant>,
    /// When the first of the changes arrived.
    pending_since: Option<Instant>,
    /// The most urgent of the changes.
    concern: Option<Concern>,
    /// The same, of the changes that the present run enforces.
    running: Option<Concern>,
}

impl Pace {
    /// Notes a change that arrived at this time.
    pub(super) fn note(&mut self, received_at: Instant, concern: Concern) {
        let since = self.pending_since.map_or(received_at, |it| it.min(received_at));
        self.pending_since = Some(since);
        self.concern = self.concern.max(Some(concern));
    }

    /// When to reconcile; `None`: nothing has changed.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.pending_since?;
        let pause = match self.concern? {
            Concern::Elsewhere => self.pause_until,
            Concern::Here => self.pause_here_until,
            Concern::Start => None,
        };
        Some(pause.map_or(now, |it| it.max(now)))
    }

    /// Starts a run: the changes are about to be enforced. Returns when the first one arrived.
    pub(super) fn start(&mut self) -> Option<Instant> {
        self.running = self.concern.take();
        self.pending_since.take()
    }

    /// Notes the end of a run.
    pub(super) fn end(&mut self, started_at: Instant, now: Instant) {
        let took = now.saturating_duration_since(started_at);
        let pause_until = Some(now + (took * SHARE).clamp(SHORTEST, LONGEST));
        self.pause_until = pause_until;
        if self.running > Some(Concern::Elsewhere) {
            self.pause_here_until = pause_until;
        }
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
        pace.note(start, Concern::Here);
        assert_eq!(pace.due(after(1)), Some(after(1)), "the first one");
        assert_eq!((pace.start(), pace.due(after(2))), (Some(start), None));
        pace.end(start, after(500));
        pace.note(after(600), Concern::Here);
        pace.note(after(550), Concern::Here);
        pace.note(after(700), Concern::Here);
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
        pace.note(start, Concern::Here);
        pace.start();
        pace.end(start, after(1_000));
        pace.note(after(1_001), Concern::Here);
        assert_eq!(pace.due(after(1_001)), Some(after(1_000) + LONGEST));
        pace.note(after(1_002), Concern::Start);
        assert_eq!(pace.due(after(1_003)), Some(after(1_003)));
        pace.start();
        pace.end(after(1_003), after(1_003));
        pace.note(after(1_004), Concern::Here);
        assert_eq!(pace.due(after(1_004)), Some(after(1_003) + SHORTEST));
    }

    #[test]
    fn changes_elsewhere_delay_none_of_this_nodes_pods() {
        let start = Instant::now();
        let after = |micros| start + Duration::from_micros(micros);
        let mut pace = Pace::default();
        pace.note(start, Concern::Elsewhere);
        pace.start();
        pace.end(start, after(500));
        let (due, later) = (after(500 + 500 * 19), after(1_000));
        pace.note(after(600), Concern::Elsewhere);
        assert_eq!(pace.due(later), Some(due));
        pace.note(after(700), Concern::Here);
        pace.note(after(800), Concern::Elsewhere);
        assert_eq!(pace.due(later), Some(later));
        assert_eq!(pace.start(), Some(after(600)), "those that arrived before go along");
        pace.end(later, after(2_000));
        pace.note(after(2_100), Concern::Here);
        assert_eq!(
            pace.due(after(2_100)),
            Some(after(2_000 + 1_000 * 19)),
            "but not each of its own"
        );
    }
}
