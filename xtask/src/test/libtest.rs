//! Reads the output of Rust's test harness.

use std::fmt;
use std::iter::Sum;

/// The numbers of tests by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Did not run because of `#[ignore]`.
    pub(crate) skipped: u64,
}

impl Counts {
    /// The counts of a test program that ended without a summary.
    pub(crate) const ONE_FAILURE: Self = Self { passed: 0, failed: 1, skipped: 0 };

    /// Whether some tests ran and none failed.
    pub(crate) fn is_success(self) -> bool {
        self.failed == 0 && self.passed > 0
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, more| Self {
            passed: sum.passed + more.passed,
            failed: sum.failed + more.failed,
            skipped: sum.skipped + more.skipped,
        })
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// The counts of one run of a test program, from its lines and its exit status. Documentation tests
/// print several summaries; they are added.
///
/// A program that fails or prints no summary has at least one failure: it crashed.
pub(crate) fn counts(lines: &[String], succeeded: bool) -> Counts {
    let summaries: Vec<_> = lines.iter().filter_map(|line| summary(line)).collect();
    let sum: Counts = summaries.iter().copied().sum();
    // Each summary is announced; a missing one means that the program crashed.
    let announced = lines.iter().filter(|line| announced(line).is_some()).count();
    let complete = !summaries.is_empty() && announced <= summaries.len();
    if sum.failed == 0 && !(succeeded && complete) {
        return [sum, Counts::ONE_FAILURE].into_iter().sum();
    }
    sum
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn summary(line: &str) -> Option<Counts> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |name: &str| {
        let part = numbers.split(';').find_map(|part| part.trim().strip_suffix(name))?;
        part.trim().parse().ok()
    };
    Some(Counts {
        passed: number("passed")?,
        failed: number("failed")?,
        skipped: number("ignored")?,
    })
}

/// Reads `running 12 tests`.
pub(crate) fn announced(line: &str) -> Option<u64> {
    let number = line.strip_prefix("running ")?;
    number.strip_suffix(" tests").or_else(|| number.strip_suffix(" test"))?.parse().ok()
}

/// The name in `test a::b ... ok`.
pub(crate) fn finished(line: &str) -> Option<&str> {
    let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let known = ["ok", "FAILED", "ignored"];
    known.iter().any(|word| result.starts_with(word)).then_some(name)
}

/// The interesting lines of a failed run: from the first `failures:` on, or all lines without one.
pub(crate) fn failures(lines: &[String]) -> &[String] {
    let start = lines.iter().position(|line| line == "failures:").unwrap_or(0);
    lines.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    const GOOD: &str = "\nrunning 3 tests\ntest a::b ... ok\ntest c ... ignored, needs X\n\
        test d - should panic ... ok\n\n\
        test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; \
        finished in 0.01s\n";

    #[test]
    fn a_good_run_is_counted() {
        let expected = Counts { passed: 2, failed: 0, skipped: 1 };
        assert_eq!(counts(&lines(GOOD), true), expected);
        assert_eq!(expected.to_string(), "2 passed, 0 failed, 1 skipped");
        assert!(expected.is_success());
    }

    #[test]
    fn failures_are_counted_and_shown() {
        let bad = lines(
            "running 2 tests\ntest a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\n\
             boom\n\ntest result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered \
             out; finished in 0.00s",
        );
        let found = counts(&bad, false);
        assert_eq!(found, Counts { passed: 1, failed: 1, skipped: 0 });
        assert!(!found.is_success());
        assert_eq!(failures(&bad).first().map(String::as_str), Some("failures:"));
        assert!(failures(&bad).contains(&"boom".to_owned()));
    }

    #[test]
    fn a_crashed_program_is_a_failure() {
        let dead = lines("running 5 tests\ntest a ... ok\n");
        assert_eq!(counts(&dead, false).failed, 1);
        assert_eq!(counts(&dead, true).failed, 1, "exit(0) in the middle of a test");
        assert_eq!(counts(&[], true).failed, 1, "nothing printed");
        assert_eq!(counts(&lines(GOOD), false).failed, 1, "crashed after its summary");
        assert_eq!(failures(&dead).len(), 2);
    }

    #[test]
    fn several_summaries_are_added() {
        let twice = lines(&format!("{GOOD}{GOOD}"));
        assert_eq!(counts(&twice, true), Counts { passed: 4, failed: 0, skipped: 2 });
        let second_died = lines(&format!("{GOOD}running 1 test\n"));
        assert_eq!(counts(&second_died, true).failed, 1);
    }

    #[test]
    fn a_run_without_tests_is_a_failure() {
        assert!(!Counts::default().is_success());
        assert!(!Counts { skipped: 3, ..Counts::default() }.is_success());
    }

    #[test]
    fn progress_is_read_from_the_lines() {
        assert_eq!(announced("running 12 tests"), Some(12));
        assert_eq!(announced("running 1 test"), Some(1));
        assert_eq!(announced("running late"), None);
        assert_eq!(finished("test a::b ... ok"), Some("a::b"));
        assert_eq!(finished("test d - should panic ... ok"), Some("d - should panic"));
        assert_eq!(finished("test x has been running for over 60 seconds"), None);
    }
}
