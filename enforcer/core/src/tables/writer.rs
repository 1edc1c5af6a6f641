//! The list of steps that a plan under construction has so far.

use super::step::Step;

/// The steps of a plan under construction.
#[derive(Debug)]
pub(super) struct Writer {
    /// The steps so far.
    pub(super) steps: Vec<Step>,
    /// The number of grace periods since the tables were created.
    pub(super) epoch: u64,
}

impl Writer {
    pub(super) fn new(epoch: u64) -> Self {
        Self { steps: Vec::new(), epoch }
    }

    pub(super) fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Waits until no packet reads what has been unlinked so far.
    pub(super) fn grace(&mut self) {
        self.steps.push(Step::Grace);
        self.epoch += 1;
    }
}
