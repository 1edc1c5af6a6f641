//! Reads the test results from a machine's console.

use serde::Serialize;

use crate::test::{self, Counts};

/// The prefix of the init's lines (`tests/src/vm/mod.rs`).
const MARK: &str = "@@vm ";

/// The verifier gives up after a million instructions (`BPF_COMPLEXITY_LIMIT_INSNS`). Kernels of one series
/// differ a little, and AKS's are not among those tried: a tenth is left for that.
const MOST_VERIFIED: u32 = 900_000;

/// The part of the console that belongs to one test program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) counts: Counts,
    pub(super) lines: Vec<String>,
}

/// The results.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// The kernel's release, if it booted.
    pub(super) release: Option<String>,
    /// Whether it loaded the programs.
    pub(super) loads: bool,
    /// The verifier's work by program, if the kernel reports it.
    pub(super) verified: Vec<Verified>,
    /// The hook that programs are attached to.
    pub(super) hook: Option<String>,
    /// The test programs that ended.
    pub(super) parts: Vec<Part>,
    /// Errors of the init.
    pub(super) errors: Vec<String>,
    /// Whether the init finished.
    pub(super) over: bool,
}

/// The number of instructions that the verifier checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Verified {
    pub(super) program: String,
    pub(super) instructions: Option<u32>,
}

impl Report {
    /// Reads the console. A test program that didn't end counts as a failure.
    pub(super) fn read(console: &[String]) -> Self {
        let mut report = Self::default();
        let mut current: Option<Part> = None;
        for line in console {
            let line = line.trim_end_matches('\r');
            // The firmware's output may precede the first mark.
            let Some((word, rest)) = line.split_once(MARK).map(|(_, it)| words(it)) else {
                if let Some(part) = &mut current {
                    part.lines.push(line.to_owned());
                }
                continue;
            };
            match word {
                "begin" => {
                    report.end(current.take(), false);
                    current = Some(Part { name: rest.to_owned(), ..Part::default() });
                }
                "end" => report.end(current.take(), words(rest).1 == "0"),
                word => report.note(word, rest),
            }
        }
        report.end(current, false);
        report
    }

    fn note(&mut self, word: &str, rest: &str) {
        match word {
            "kernel" => self.release = Some(rest.to_owned()),
            "loaded" => self.loads = true,
            "verified" => {
                let (program, number) = words(rest);
                let (program, instructions) = (program.to_owned(), number.parse().ok());
                if instructions.is_some_and(|it| it > MOST_VERIFIED) {
                    self.errors.push(format!(
                        "{program} takes {number} of the verifier's 1,000,000 instructions: at most \
                         {MOST_VERIFIED} leave room for other kernels"
                    ));
                }
                self.verified.push(Verified { program, instructions });
            }
            "hook" => self.hook = Some(rest.to_owned()),
            "error" => self.errors.push(rest.to_owned()),
            "over" => self.over = true,
            _ => self.errors.push(format!("unknown word of the init: {word}")),
        }
    }

    fn end(&mut self, part: Option<Part>, succeeded: bool) {
        if let Some(mut part) = part {
            part.counts = test::counts(&part.lines, succeeded);
            self.parts.push(part);
        }
    }

    /// All tests' counts.
    pub(super) fn counts(&self) -> Counts {
        self.parts.iter().map(|part| part.counts).sum()
    }

    /// Whether everything ran and passed.
    pub(super) fn is_success(&self) -> bool {
        let complete = self.over && self.loads && self.hook.is_some() && self.errors.is_empty();
        complete && self.counts().is_success()
    }
}

/// The first word and the rest.
fn words(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    (word, rest.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
SeaBIOS (version 1.16)\u{1b}c@@vm kernel 5.10.0-46-cloud-amd64 \r
@@vm loaded \r
@@vm verified to_pod 1234\r
@@vm verified from_pod -\r
@@vm hook clsact\r
\r
@@vm begin kernel\r
running 2 tests\r
test a ... ok\r
test b ... ok\r
\r
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s\r
\r
@@vm end kernel 0\r
@@vm over \r
";

    fn read(text: &str) -> Report {
        Report::read(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_program_near_the_verifiers_limit_is_a_failure() {
        let [near, fine] = ["900001", "900000"].map(|it| read(&GOOD.replace("1234", it)));
        assert!(!near.is_success() && near.errors[0].starts_with("to_pod takes 900001 of"));
        assert!(fine.is_success());
    }

    #[test]
    fn a_good_run_is_read() {
        let report = read(GOOD);
        assert!(report.is_success(), "{report:#?}");
        assert_eq!(report.release.as_deref(), Some("5.10.0-46-cloud-amd64"));
        assert_eq!(report.hook.as_deref(), Some("clsact"));
        assert_eq!(report.counts(), Counts { passed: 2, failed: 0, skipped: 0 });
        let instructions: Vec<_> = report.verified.iter().map(|it| it.instructions).collect();
        assert_eq!(instructions, [Some(1234), None]);
    }

    #[test]
    fn missing_or_wrong_lines_are_failures() {
        for (from, to) in [
            ("@@vm over", "x"),
            ("@@vm loaded", "x"),
            ("@@vm hook", "@@vm error"),
            ("@@vm end kernel 0", "@@vm end kernel 101"),
            ("@@vm end kernel 0", ""),
            ("@@vm begin kernel", ""),
            ("test result: ok. 2 passed; 0", "test result: FAILED. 1 passed; 1"),
            ("@@vm loaded", "@@vm lauded"),
        ] {
            assert!(!read(&GOOD.replace(from, to)).is_success(), "{from} -> {to}");
        }
        assert!(!read("").is_success());
    }

    #[test]
    fn a_test_program_that_crashed_the_machine_failed() {
        let cut = GOOD.split("test b").next().unwrap();
        let report = read(cut);
        assert_eq!(report.counts(), Counts::ONE_FAILURE);
        assert_eq!(report.parts[0].lines.len(), 2);
    }
}
