//! Pauses of a watch that receives many events.
//!
//! Each reading of a connection wakes several tasks and two threads, whatever it brings: with 1,000 events a
//! second that costs more than the events. So events are read one by one while they are few, and together
//! once they follow each other closely.

use std::time::{Duration, Instant};

/// The pause between two readings: the longest delay that it adds to an event.
const PAUSE: Duration = Duration::from_millis(10);

/// With more events than this in a reading there are no pauses: they would limit what can be read.
const MANY: u32 = 32;

/// The last reading, and the number of changes since.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    read_at: Option<Instant>,
    changes: u32,
}

impl Gathering {
    /// Notes a change, in contrast to the parts of a list.
    pub(super) fn note(&mut self) {
        self.changes = self.changes.saturating_add(1);
    }

    /// Returns the pause before the next reading, when all that has arrived is read.
    pub(super) fn pause(&mut self, now: Instant) -> Option<Duration> {
        let changes = std::mem::take(&mut self.changes);
        if changes == 0 {
            return None;
        }
        let before = self.read_at.replace(now)?;
        let is_busy = now.saturating_duration_since(before) < PAUSE + PAUSE / 2;
        (is_busy && changes < MANY).then_some(PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_events_are_read_at_once_and_later_ones_together() {
        let start = Instant::now();
        let mut gathering = Gathering::default();
        let mut read = |changes, millis| {
            (0..changes).for_each(|_| gathering.note());
            gathering.pause(start + Duration::from_millis(millis))
        };
        assert_eq!((read(1, 0), read(1, 50), read(2, 100)), (None, None, None), "seldom");
        assert_eq!(read(0, 101), None, "nothing was read");
        assert_eq!(read(1, 101), Some(PAUSE));
        assert_eq!(read(10, 112), Some(PAUSE), "still busy after the pause");
        assert_eq!(read(MANY, 123), None);
        assert_eq!(read(1, 200), None);
    }
}
