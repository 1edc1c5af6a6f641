//! The rate of answers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(1);

/// Answers to one receiver in a window. More would help no client, and a pod that floods gets no flood back.
const PER_RECEIVER: u32 = 50;

/// Answers to all receivers in a window; also the bound of the memory.
const TOTAL: u32 = 500;

/// Counts the answers of the present second.
#[derive(Debug)]
pub struct Limits {
    since: Instant,
    total: u32,
    receivers: HashMap<IpAddr, u32>,
}

impl Limits {
    /// Limits whose first window starts now.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { since: now, total: 0, receivers: HashMap::new() }
    }

    /// Counts an answer. Returns whether it is within the limits.
    pub fn allow(&mut self, now: Instant, receiver: IpAddr) -> bool {
        if now.saturating_duration_since(self.since) >= WINDOW {
            self.since = now;
            self.total = 0;
            self.receivers.clear();
        }
        if self.total >= TOTAL {
            return false;
        }
        let count = self.receivers.entry(receiver).or_default();
        if *count >= PER_RECEIVER {
            return false;
        }
        *count += 1;
        self.total += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(limits: &mut Limits, now: Instant, receiver: u8, tries: u32) -> u32 {
        let receiver = IpAddr::from([10, 0, 0, receiver]);
        (0..tries).map(|_| u32::from(limits.allow(now, receiver))).sum()
    }

    #[test]
    fn a_receiver_cannot_use_up_the_answers_of_others() {
        let start = Instant::now();
        let mut limits = Limits::new(start);
        assert_eq!(allowed(&mut limits, start, 1, 10_000), PER_RECEIVER);
        assert_eq!(allowed(&mut limits, start, 2, 10), 10);
        let later = start + WINDOW;
        assert_eq!(allowed(&mut limits, later, 1, 10_000), PER_RECEIVER);
    }

    #[test]
    fn the_total_and_the_memory_are_bounded() {
        let start = Instant::now();
        let mut limits = Limits::new(start);
        let all: u32 = (0..=255).map(|it| allowed(&mut limits, start, it, 10)).sum();
        assert_eq!(all, TOTAL);
        assert!(limits.receivers.len() <= TOTAL as usize);
    }
}
