//! The waits after failures.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// The first wait, and the longest: with the time to connect, a server that returns is found within
/// five seconds.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(3);

/// The longest wait before a list. A list of a large cluster is expensive for the server.
const LONGEST_BEFORE_LIST: Duration = Duration::from_secs(30);

/// The wait after this number of failures in a row, random so that the agents of a cluster do not
/// return together.
pub(super) fn after(failures: u32) -> Duration {
    random(step(failures, LONGEST))
}

/// The wait before another list, after this number of lists that led to nothing.
pub(super) fn before_list(failures: u32) -> Duration {
    random(step(failures, LONGEST_BEFORE_LIST))
}

fn step(failures: u32, longest: Duration) -> Duration {
    let Some(doubled) = failures.checked_sub(1) else { return Duration::ZERO };
    FIRST.saturating_mul(1 << doubled.min(16)).min(longest)
}

/// Between half and all of it.
fn random(step: Duration) -> Duration {
    let part = number() % 1_000;
    step / 2 + (step / 2).mul_f64(part as f64 / 1_000.0)
}

/// A random number.
pub(super) fn number() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_limit() {
        let millis = |failures, longest| step(failures, longest).as_millis();
        let all = |longest| (0..9).map(|it| millis(it, longest)).collect::<Vec<_>>();
        assert_eq!(all(LONGEST), [0, 500, 1000, 2000, 3000, 3000, 3000, 3000, 3000]);
        let lists = [0, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000];
        assert_eq!(all(LONGEST_BEFORE_LIST), lists);
        assert_eq!(step(u32::MAX, LONGEST), LONGEST);
        assert_eq!(after(0), Duration::ZERO);
        for _ in 0..100 {
            assert!((LONGEST / 2..=LONGEST).contains(&after(9)));
        }
    }
}
