//! What the drift check has found.

use std::collections::BTreeMap;
use std::time::Duration;

use enforcer_core::model::PodId;

use super::question::{Dice, Question};
use crate::observe::DriftReport;

/// The most differences to remember; more are counted only.
const MOST: usize = 16;

/// The state of the check.
#[derive(Debug, Default)]
pub(in crate::agent) struct Drift {
    /// The time between two sweeps; zero: none.
    pub(super) interval: Duration,
    pub(super) dice: Dice,
    /// The pod that was the last peer: each pod of the cluster has its turn.
    pub(super) last: PodId,
    checks: u64,
    /// Test runs.
    pub(super) samples: u64,
    found: u64,
    pub(super) differences: BTreeMap<Question, String>,
}

impl Drift {
    /// A check with this time between two sweeps; zero: never.
    pub(in crate::agent) fn every(interval: Duration) -> Self {
        Self { interval, ..Self::default() }
    }

    pub(super) fn report(&self) -> DriftReport {
        let Self { checks, samples, found, .. } = *self;
        DriftReport {
            checks,
            samples,
            found,
            differences: self.differences.values().cloned().collect(),
        }
    }

    pub(super) fn note(&mut self, question: Question, difference: Option<String>) {
        self.checks += 1;
        match difference {
            Some(what) if !self.differences.contains_key(&question) => {
                self.found += 1;
                // Many differences have one cause: some lines are enough.
                if self.differences.len() < MOST {
                    tracing::error!("drift: {what}");
                    self.differences.insert(question, what);
                }
            }
            Some(_) => {}
            None => {
                if let Some(what) = self.differences.remove(&question) {
                    tracing::info!("drift has ended: {what}");
                }
            }
        }
    }
}
