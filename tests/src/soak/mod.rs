//! The agent under churn, kills, floods and traffic together, with invariants checked throughout.
//!
//! ```text
//! cast ─► the API server's objects ─► agent          steady: a connection that never breaks
//!   ▲                                   ▲             flood: datagrams to random ports
//!   └──────────── step: one thing ──────┘
//!                   │ after each step: every probe as the reference evaluator says
//!                   └ at checkpoints, with the first cast again: nothing has leaked (`footprint`)
//! ```
//! Here belong what happens and what must hold. The session plays the cluster's controllers.

mod cast;
mod flood;
mod footprint;
mod numbers;
mod report;
mod run;
mod steady;
mod step;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::lab::Topology;

pub use report::Summary;
pub use run::soak;

/// The options of a soak test.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long to go on.
    pub duration: Duration,
    /// Decides what happens, and in which order.
    pub seed: u64,
    /// How pods are attached.
    pub topology: Topology,
    /// The agent's program.
    pub agent: PathBuf,
    /// The lab's program, which starts processes.
    pub spawner: PathBuf,
    /// Further arguments for the agent.
    pub arguments: Vec<OsString>,
    /// Whether to report each step on standard error.
    pub is_verbose: bool,
}
