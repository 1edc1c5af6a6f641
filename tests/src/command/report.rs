//! The JSON document about a walk-through.

use serde::Serialize;

use crate::lab::Topology;
use crate::matrix::Matrix;

/// All of it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Whether every cell of every step was as expected and the agent stayed well.
    pub ok: bool,
    /// Cells measured.
    pub cells: usize,
    /// Cells as expected.
    pub as_expected: usize,
    /// What went wrong apart from cells.
    pub problems: Vec<String>,
    /// One per step and topology.
    pub steps: Vec<StepReport>,
}

/// One step.
#[derive(Debug, Serialize)]
pub(crate) struct StepReport {
    /// How pods were attached.
    pub topology: Topology,
    /// The scenario.
    pub scenario: String,
    /// The file that the step added.
    pub step: String,
    /// Whether every cell was as expected.
    pub ok: bool,
    /// How often everything was measured until it was as expected or time was up.
    pub rounds: usize,
    /// How long that took, in milliseconds.
    pub took_ms: u128,
    /// The last round.
    pub matrix: Matrix,
}

impl Report {
    pub(crate) fn add(&mut self, step: StepReport) {
        self.cells += step.matrix.cells.len();
        self.as_expected += step.matrix.good();
        self.steps.push(step);
        self.judge();
    }

    pub(crate) fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
        self.judge();
    }

    fn judge(&mut self) {
        let steps_ok = !self.steps.is_empty() && self.steps.iter().all(|step| step.ok);
        self.ok = steps_ok && self.problems.is_empty();
    }
}
