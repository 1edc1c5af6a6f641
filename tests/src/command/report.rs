//! The JSON report on a walk-through: `docs/json.md` documents it.

use std::collections::BTreeSet;

use enforcer_core::model::PodId;
use serde::{Serialize, Serializer};

use crate::lab::Topology;
use crate::matrix::Matrix;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The version of the document's fields.
    version: u8,
    kind: &'static str,
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
    /// The pods that no agent guarded yet in the last round.
    #[serde(serialize_with = "names")]
    pub unguarded: BTreeSet<PodId>,
    /// The number of measurements until all was as expected or time was up.
    pub rounds: usize,
    /// The duration in milliseconds.
    pub took_ms: u128,
    /// The last round.
    pub matrix: Matrix,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            version: 1,
            kind: "lab",
            ok: false,
            cells: 0,
            as_expected: 0,
            problems: Vec::new(),
            steps: Vec::new(),
        }
    }
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

fn names<S: Serializer>(pods: &BTreeSet<PodId>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(pods.iter().map(ToString::to_string))
}
