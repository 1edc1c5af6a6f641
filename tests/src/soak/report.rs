//! The result of a soak test.

use std::fmt;
use std::time::Duration;

/// What happened, and what went wrong.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// The seed.
    pub seed: u64,
    /// Steps of each kind: changes, kills, and so on.
    pub steps: std::collections::BTreeMap<&'static str, usize>,
    /// Connections that were tried.
    pub probes: usize,
    /// Datagrams of floods.
    pub flooded: u64,
    /// Answers on the steady connection, and the longest wait for one.
    pub answers: u64,
    /// See [`Self::answers`].
    pub longest_answer: Duration,
    /// The longest time from a change until every connection was as expected.
    pub longest_change: Duration,
    /// The agent's memory in KiB: at the first checkpoint, and the most at any.
    pub resident_kib: (u64, u64),
    /// The agent's descriptors, likewise.
    pub descriptors: (usize, usize),
    /// The broken invariants.
    pub violations: Vec<String>,
}

impl Summary {
    /// Whether every invariant held. Without any probe nothing was checked.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.violations.is_empty() && self.probes > 0
    }

    pub(super) fn count(&mut self, kind: &'static str) {
        *self.steps.entry(kind).or_default() += 1;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<String> =
            self.steps.iter().map(|(kind, it)| format!("{it} {kind}")).collect();
        writeln!(f, "seed {}: {}", self.seed, steps.join(", "))?;
        writeln!(
            f,
            "{} connections tried, {} datagrams of floods, {} answers on the steady connection (the \
             slowest after {} ms)",
            self.probes,
            self.flooded,
            self.answers,
            self.longest_answer.as_millis()
        )?;
        writeln!(
            f,
            "slowest change, until every connection was as expected: {} ms",
            self.longest_change.as_millis()
        )?;
        let ((first, most), (few, many)) = (self.resident_kib, self.descriptors);
        writeln!(
            f,
            "the agent: {:.1} MiB at first, {:.1} MiB at most; {few} descriptors, {many} at most",
            first as f64 / 1024.0,
            most as f64 / 1024.0
        )?;
        for violation in &self.violations {
            writeln!(f, "BROKEN: {violation}")?;
        }
        f.write_str(if self.passed() { "every invariant held" } else { "FAILED" })
    }
}
