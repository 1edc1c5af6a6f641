//! The last drops, to answer "why was it dropped".

use std::collections::VecDeque;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::DropRecord;

/// The number of drops to remember.
const REMEMBERED: usize = 100;

/// A dropped packet, some time ago.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentDrop {
    /// The seconds since the agent received the event.
    pub seconds_ago: u64,
    /// The packet.
    #[serde(flatten)]
    pub drop: DropRecord,
}

/// The last drops that the programs reported; of a flood they report only some.
#[derive(Debug, Default)]
pub struct RecentDrops(VecDeque<(Instant, DropRecord)>);

impl RecentDrops {
    /// Remembers a drop, and forgets the oldest one if there are too many.
    pub fn push(&mut self, now: Instant, drop: DropRecord) {
        self.0.truncate(REMEMBERED - 1);
        self.0.push_front((now, drop));
    }

    /// The drops, the newest first.
    #[must_use]
    pub fn list(&self, now: Instant) -> Vec<RecentDrop> {
        let recent = |(received_at, drop): &(Instant, DropRecord)| RecentDrop {
            seconds_ago: now.saturating_duration_since(*received_at).as_secs(),
            drop: drop.clone(),
        };
        self.0.iter().map(recent).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::fixture;
    use super::*;

    #[test]
    fn the_last_hundred_are_remembered() {
        let mut drops = RecentDrops::default();
        let start = Instant::now();
        let second = |n: u32| start + Duration::from_secs(n.into());
        for n in 0..250 {
            drops.push(second(n), DropRecord { length: n, ..fixture::drop() });
        }
        let list = drops.list(second(260));
        assert_eq!(list.len(), REMEMBERED);
        assert_eq!((list[0].seconds_ago, list[0].drop.length), (11, 249));
        assert_eq!((list[99].seconds_ago, list[99].drop.length), (110, 150));
    }
}
