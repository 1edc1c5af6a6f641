//! The interfaces whose hooks are not as they must be, and when to try to restore them again
//! (semantics C7).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The wait after a failure; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait: a program that takes the hook's first place again and again shall not keep the
/// agent busy, but no fault stays for long.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// So often an interface is restored at once before the agent waits.
const AT_ONCE: u32 = 8;
/// The time without a fault after which an interface counts as calm.
const CALM: Duration = Duration::from_secs(30);

/// The interfaces with a present or recent fault.
#[derive(Debug, Default)]
pub(super) struct Guard {
    faults: BTreeMap<u32, Entry>,
    restored: u64,
    /// Interfaces without programs, and since when.
    first_seen: BTreeMap<u32, Instant>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    state: State,
    /// The failures and repeated faults without a calm time in between.
    attempts: u32,
    next: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Packets may pass unchecked.
    Open(String),
    /// The programs are there, but would end with the agent.
    Unpinned(String),
    /// Restored at this time.
    Restored(Instant),
}

/// An interface at which packets may pass unchecked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unguarded {
    pub(super) ifindex: u32,
    pub(super) name: String,
    pub(super) why: String,
}

impl Guard {
    /// Notes a fault, found at a hook that had our program. Returns whether it is new.
    pub(super) fn found(
        &mut self,
        ifindex: u32,
        name: &str,
        (is_open, why): (bool, String),
        now: Instant,
    ) -> bool {
        let state = if is_open { State::Open(why) } else { State::Unpinned(why) };
        let Some(entry) = self.faults.get_mut(&ifindex) else {
            let entry = Entry { name: name.to_owned(), state, attempts: 0, next: now };
            self.faults.insert(ifindex, entry);
            return true;
        };
        let is_new = matches!(entry.state, State::Restored(_));
        if is_new {
            // Somebody undoes what was restored: after some times it waits, each time longer.
            let waits = entry.attempts.checked_sub(AT_ONCE);
            entry.next = now + waits.map(wait).unwrap_or_default();
            entry.attempts += 1;
        }
        // Two hooks of an interface: one that is open matters more.
        if is_new || is_open || !matches!(entry.state, State::Open(_)) {
            entry.state = state;
        }
        is_new
    }

    /// Notes that programs could not be attached or restored. Returns whether the reason is new.
    pub(super) fn failed(&mut self, ifindex: u32, name: &str, why: String, now: Instant) -> bool {
        let entry = self.faults.entry(ifindex).or_insert_with(|| Entry {
            name: name.to_owned(),
            state: State::Restored(now),
            attempts: 0,
            next: now,
        });
        entry.attempts += 1;
        entry.next = now + wait(entry.attempts - 1);
        let state = State::Open(why);
        let is_new = entry.state != state;
        entry.state = state;
        is_new
    }

    /// Whether it is time to try again.
    pub(super) fn is_due(&self, ifindex: u32, now: Instant) -> bool {
        self.faults.get(&ifindex).is_none_or(|it| it.next <= now)
    }

    /// The interfaces with a fault for which it is time to try again.
    pub(super) fn due(&self, now: Instant) -> Vec<(u32, String)> {
        let due = self
            .faults
            .iter()
            .filter(|(_, it)| !matches!(it.state, State::Restored(_)) && it.next <= now);
        due.map(|(ifindex, it)| (*ifindex, it.name.clone())).collect()
    }

    /// Notes that an interface has no fault. Returns whether it had one.
    pub(super) fn succeeded(&mut self, ifindex: u32, now: Instant) -> bool {
        let Some(entry) = self.faults.get_mut(&ifindex) else { return false };
        if matches!(entry.state, State::Restored(_)) {
            return false;
        }
        entry.state = State::Restored(now);
        self.restored += 1;
        true
    }

    /// When an interface without programs was first seen.
    pub(super) fn first_seen(&mut self, ifindex: u32, now: Instant) -> Instant {
        *self.first_seen.entry(ifindex).or_insert(now)
    }

    /// Forgets interfaces that are gone, and those that have been calm.
    pub(super) fn tidy(&mut self, exists: impl Fn(u32) -> bool, now: Instant) {
        self.first_seen.retain(|ifindex, _| exists(*ifindex));
        self.faults.retain(|ifindex, it| {
            let calm = matches!(it.state, State::Restored(at) if at + CALM <= now);
            exists(*ifindex) && !calm
        });
    }

    /// The interfaces at which packets may pass unchecked.
    pub(super) fn unguarded(&self) -> Vec<Unguarded> {
        let open = self.faults.iter().filter_map(|(&ifindex, it)| match &it.state {
            State::Open(why) => {
                Some(Unguarded { ifindex, name: it.name.clone(), why: why.clone() })
            }
            _ => None,
        });
        open.collect()
    }

    /// How often a fault ended since the agent started.
    pub(super) fn restored(&self) -> u64 {
        self.restored
    }
}

/// The wait after a number of earlier failures.
fn wait(failures: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << failures.min(10)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: fn() -> (bool, String) = || (true, "its program was detached".to_owned());

    fn after(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[test]
    fn c7_a_failure_is_retried_by_time_and_later_each_time() {
        let (mut guard, start) = (Guard::default(), Instant::now());
        assert!(guard.is_due(7, start), "the first attempt");
        assert!(guard.failed(7, "veth7", "no descriptor".to_owned(), start));
        assert!(!guard.is_due(7, after(start, 99)));
        assert_eq!(guard.due(after(start, 100)), [(7, "veth7".to_owned())]);
        assert!(!guard.failed(7, "veth7", "no descriptor".to_owned(), after(start, 100)));
        assert!(!guard.is_due(7, after(start, 299)));
        assert!(guard.is_due(7, after(start, 300)));
        for _ in 0..20 {
            guard.failed(7, "veth7", "no descriptor".to_owned(), start);
        }
        assert!(guard.is_due(7, start + LONGEST_WAIT), "but forever");
        let unguarded = guard.unguarded();
        assert_eq!((unguarded[0].ifindex, &*unguarded[0].why), (7, "no descriptor"));
        assert!(guard.succeeded(7, start));
        assert_eq!((guard.unguarded(), guard.restored()), (vec![], 1));
    }

    #[test]
    fn c7_a_fault_is_restored_at_once_but_no_fight_goes_on() {
        let (mut guard, start) = (Guard::default(), Instant::now());
        assert!(guard.found(7, "veth7", OPEN(), start));
        assert_eq!(guard.due(start).len(), 1, "at once");
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..AT_ONCE + 8 {
            assert!(guard.succeeded(7, now));
            assert!(guard.found(7, "veth7", OPEN(), now), "again");
            assert!(!guard.found(7, "veth7", OPEN(), now), "still");
            let next = guard.faults[&7].next;
            waits.push((next - now).as_millis());
            now = next;
        }
        let (at_once, later) = waits.split_at(AT_ONCE as usize);
        assert!(at_once.iter().all(|it| *it == 0), "{waits:?}");
        assert_eq!(later, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        guard.succeeded(7, now);
        guard.tidy(|_| true, now + CALM);
        assert!(guard.found(7, "veth7", OPEN(), now + CALM));
        assert_eq!(guard.due(now + CALM).len(), 1, "after a calm time, at once");
    }

    #[test]
    fn an_interface_that_is_gone_has_no_fault() {
        let (mut guard, now) = (Guard::default(), Instant::now());
        guard.found(7, "veth7", OPEN(), now);
        guard.tidy(|_| false, now);
        assert_eq!(guard.unguarded(), []);
    }

    #[test]
    fn an_attachment_without_its_pin_still_guards() {
        let (mut guard, now) = (Guard::default(), Instant::now());
        guard.found(7, "veth7", (false, "its pin was removed".to_owned()), now);
        assert_eq!((guard.unguarded(), guard.due(now).len()), (vec![], 1));
        guard.found(7, "veth7", OPEN(), now);
        guard.found(7, "veth7", (false, "its pin was removed".to_owned()), now);
        assert_eq!(guard.unguarded().len(), 1, "the other hook does not");
    }
}
