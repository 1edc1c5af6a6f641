//! The steps of a plan, in the order of their writing.

use super::step::Step;

/// The steps of a plan in the making.
#[derive(Debug)]
pub(super) struct Writer {
    /// The steps so far.
    pub(super) steps: Vec<Step>,
    /// How many grace periods there have been since the tables were made.
    pub(super) epoch: u64,
}

impl Writer {
    pub(super) fn new(epoch: u64) -> Self {
        Self { steps: Vec::new(), epoch }
    }

    pub(super) fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Waits until nobody reads what has been unlinked so far.
    pub(super) fn grace(&mut self) {
        self.steps.push(Step::Grace);
        self.epoch += 1;
    }
}
