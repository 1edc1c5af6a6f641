//! The JSON report on a walk-through.

use serde::Serialize;

use crate::lab::Topology;
use crate::matrix::Matrix;

#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Whether every cell of every step was as expected, without problems.
    pub ok: bool,
    pub cells: usize,
    /// The number of cells as expected.
    pub as_expected: usize,
    /// Failures of the lab or the agent.
    pub problems: Vec<String>,
    /// One report per step and topology.
    pub steps: Vec<StepReport>,
}

/// One step.
#[derive(Debug, Serialize)]
pub(crate) struct StepReport {
    /// How pods were attached.
    pub topology: Topology,
    pub scenario: String,
    /// The file added by the step.
    pub step: String,
    /// Whether every cell was as expected.
    pub ok: bool,
    /// The number of measurements until all was as expected or time was up.
    pub rounds: usize,
    /// The duration in milliseconds.
    pub took_ms: u128,
    /// The last round.
    pub matrix: Matrix,
}

impl Report {
    pub(crate) fn add(&mut self, step: StepReport) {
        self.cells += step.matrix.cells.len();
        self.as_expected += step.matrix.good();
        self.steps.push(step);
        self.update();
    }

    pub(crate) fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
        self.update();
    }

    fn update(&mut self) {
        let steps_ok = !self.steps.is_empty() && self.steps.iter().all(|step| step.ok);
        self.ok = steps_ok && self.problems.is_empty();
    }
}
