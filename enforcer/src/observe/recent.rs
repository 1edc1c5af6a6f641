//! The last drops, to answer "why was it dropped".

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::DropRecord;

/// The number of attempts to remember.
const REMEMBERED: usize = 500;

/// Those that the status shows.
const SHOWN: usize = 100;

/// An attempt is over if none of its packets was dropped for this time: a client's third attempt to
/// send a SYN comes after three seconds, its sixth after half a minute.
const QUIET: Duration = Duration::from_secs(60);

/// The dropped packets of one attempt to connect, the last of them some time ago.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentDrop {
    /// The attempt's number since the agent started; later attempts have higher ones.
    #[serde(default)]
    pub number: u64,
    /// The seconds since the agent received the last event.
    pub seconds_ago: u64,
    /// Further packets that were reported; there may have been more.
    #[serde(default)]
    pub repeats: u64,
    /// The first packet.
    #[serde(flatten)]
    pub drop: DropRecord,
}

/// The pod whose policies dropped a packet, and the interface.
type Account<'a> = (Option<&'a str>, u32);

fn account(drop: &DropRecord) -> Account<'_> {
    (drop.pod.as_deref(), drop.ifindex)
}

#[derive(Debug)]
struct Attempt {
    number: u64,
    first: Instant,
    last: Instant,
    repeats: u64,
    drop: DropRecord,
    /// Whether its end was reported.
    is_closed: bool,
}

/// An attempt that is over, of more than one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedDrop {
    /// Packets after the first one that were reported.
    pub repeats: u64,
    /// The time from the first to the last one.
    pub lasted: Duration,
    /// The first packet.
    pub drop: DropRecord,
}

impl Attempt {
    /// The end of the attempt, if it has more than one packet; once.
    fn close(&mut self) -> Option<EndedDrop> {
        let is_new = !std::mem::replace(&mut self.is_closed, true) && self.repeats > 0;
        is_new.then(|| EndedDrop {
            repeats: self.repeats,
            lasted: self.last.saturating_duration_since(self.first),
            drop: self.drop.clone(),
        })
    }
}

/// The last attempts whose packets the programs reported as dropped; of a flood they report only
/// some.
#[derive(Debug, Default)]
pub struct RecentDrops {
    attempts: VecDeque<Attempt>,
    begun: u64,
    /// Attempts that were forgotten before they were over.
    forgotten: Vec<EndedDrop>,
}

impl RecentDrops {
    /// Counts the packet if it repeats a known attempt that is not over. Returns whether it does.
    pub fn repeats(&mut self, now: Instant, drop: &DropRecord) -> bool {
        let known = self.attempts.iter_mut().find(|it| it.drop.is_same_attempt(drop));
        let lasting = |it: &&mut Attempt| now.saturating_duration_since(it.last) < QUIET;
        let Some(attempt) = known.filter(lasting) else { return false };
        attempt.repeats = attempt.repeats.saturating_add(1);
        attempt.last = now;
        true
    }

    /// Remembers a new attempt. If there are too many, the oldest one of the pod with most of
    /// them is forgotten: a pod with many drops hides no other pod's (R9).
    pub fn push(&mut self, now: Instant, drop: DropRecord) {
        if self.attempts.len() >= REMEMBERED {
            let most = self.busiest();
            let oldest = self.attempts.iter().rposition(|it| most == Some(account(&it.drop)));
            let oldest = oldest.and_then(|it| self.attempts.remove(it));
            self.forgotten.extend(oldest.and_then(|mut it| it.close()));
        }
        self.begun += 1;
        self.attempts.push_front(Attempt {
            number: self.begun,
            first: now,
            last: now,
            repeats: 0,
            drop,
            is_closed: false,
        });
    }

    /// The account with most remembered attempts.
    fn busiest(&self) -> Option<Account<'_>> {
        let mut counts: BTreeMap<Account<'_>, usize> = BTreeMap::new();
        for attempt in &self.attempts {
            *counts.entry(account(&attempt.drop)).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(account, _)| account)
    }

    /// The attempts of more than one packet that have ended since the last call.
    pub fn ended(&mut self, now: Instant) -> Vec<EndedDrop> {
        let mut ended = std::mem::take(&mut self.forgotten);
        let over = self.attempts.iter_mut().rev();
        let over = over.filter(|it| now.saturating_duration_since(it.last) >= QUIET);
        ended.extend(over.filter_map(Attempt::close));
        ended
    }

    /// The last attempts, the newest first.
    #[must_use]
    pub fn list(&self, now: Instant) -> Vec<RecentDrop> {
        self.since(now, 0).into_iter().take(SHOWN).collect()
    }

    /// All remembered attempts after the one of this number, the newest first.
    #[must_use]
    pub fn since(&self, now: Instant, number: u64) -> Vec<RecentDrop> {
        let recent = |it: &Attempt| RecentDrop {
            number: it.number,
            seconds_ago: now.saturating_duration_since(it.last).as_secs(),
            repeats: it.repeats,
            drop: it.drop.clone(),
        };
        self.attempts.iter().take_while(|it| it.number > number).map(recent).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn the_last_hundred_are_shown() {
        let mut drops = RecentDrops::default();
        let start = Instant::now();
        let second = |n: u32| start + Duration::from_secs(n.into());
        for n in 0..250 {
            drops.push(second(n), DropRecord { length: n, ..fixture::drop() });
        }
        let list = drops.list(second(260));
        assert_eq!(list.len(), SHOWN);
        assert_eq!((list[0].seconds_ago, list[0].drop.length), (11, 249));
        assert_eq!((list[99].seconds_ago, list[99].drop.length), (110, 150));
    }

    #[test]
    fn packets_of_an_attempt_are_counted_until_it_is_over() {
        let mut drops = RecentDrops::default();
        let start = Instant::now();
        let drop = fixture::drop();
        assert!(!drops.repeats(start, &drop), "nothing is known yet");
        drops.push(start, drop.clone());
        let other = DropRecord { length: 1_500, ..drop.clone() };
        assert!(drops.repeats(start + Duration::from_secs(3), &other), "the length does not count");
        assert!(drops.repeats(start + QUIET, &drop), "the last packet counts, not the first");
        let elsewhere = DropRecord { ifindex: 99, ..drop.clone() };
        assert!(!drops.repeats(start + QUIET, &elsewhere));
        let over = start + QUIET + QUIET;
        assert!(!drops.repeats(over, &drop));
        drops.push(over, drop);
        let list = drops.list(over);
        let counts: Vec<_> =
            list.iter().map(|it| (it.number, it.repeats, it.seconds_ago)).collect();
        assert_eq!(counts, [(2, 0, 0), (1, 2, 60)]);
        assert_eq!(drops.since(over, 1).len(), 1);
    }

    #[test]
    fn r9_a_pod_with_many_drops_hides_no_other_pods() {
        let mut drops = RecentDrops::default();
        let start = Instant::now();
        let at = |ifindex| DropRecord { ifindex, ..fixture::drop() };
        for ifindex in [2, 3, 3] {
            drops.push(start, at(ifindex));
        }
        for _ in 0..3 * REMEMBERED {
            drops.push(start, at(4));
        }
        let of = |ifindex| drops.attempts.iter().filter(|it| it.drop.ifindex == ifindex).count();
        assert_eq!((drops.attempts.len(), of(2), of(3)), (REMEMBERED, 1, 2));
        let numbers: Vec<u64> = drops.since(start, 3).iter().map(|it| it.number).collect();
        assert!(numbers.is_sorted_by(|a, b| a > b), "the newest first");
        assert_eq!(numbers.len(), REMEMBERED - 3);
    }

    #[test]
    fn the_end_of_an_attempt_is_reported_once() {
        let mut drops = RecentDrops::default();
        let start = Instant::now();
        let drop = fixture::drop();
        drops.push(start, drop.clone());
        drops.push(start, DropRecord { ifindex: 99, ..drop.clone() });
        for second in 1..=3 {
            assert!(drops.repeats(start + Duration::from_secs(second), &drop));
        }
        let last = start + Duration::from_secs(3);
        assert_eq!(drops.ended(last + QUIET - Duration::from_millis(1)), []);
        let lasted = Duration::from_secs(3);
        let ended = EndedDrop { repeats: 3, lasted, drop: drop.clone() };
        assert_eq!(drops.ended(last + QUIET), std::slice::from_ref(&ended));
        assert_eq!(drops.ended(last + QUIET), []);
        // Also of those that are forgotten in a flood.
        let again = last + QUIET;
        drops.push(again, drop.clone());
        assert!(drops.repeats(again, &drop));
        for length in 100..700 {
            drops.push(again, DropRecord { length, ..drop.clone() });
        }
        assert_eq!(drops.ended(again), [EndedDrop { repeats: 1, lasted: Duration::ZERO, drop }]);
    }
}
