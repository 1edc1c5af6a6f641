//! The arguments of `soak`.

use std::ffi::OsString;

use clap::Args;

use super::lab::Topology;

/// `soak`.
#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// How long to go on
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) minutes: u64,
    /// What happens follows from this number [default: the time]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// How pods are attached to the node
    #[arg(long, value_enum, default_value_t = Topology::AzureCni)]
    pub(crate) topology: Topology,
    /// Use the optimised build of the agent
    #[arg(long)]
    pub(crate) release: bool,
    /// Arguments for the agent itself
    #[arg(last = true, value_name = "AGENT ARGUMENTS")]
    pub(crate) agent_arguments: Vec<OsString>,
}

pub(super) const HELP: &str = "\
Examples:
  cargo xtask soak --minutes 60
  cargo xtask soak --minutes 2 --seed 13      # the same again
  cargo xtask soak --topology kubenet -- --attach clsact

Pods, labels and policies of an API server change in random order. Between changes the agent is killed,
ended and stopped, and one pod floods another. After each step every connection must be as the
reference evaluator says, and one connection must never break. Again and again the first state is
restored: then memory, descriptors, threads, pins and table entries must be as at first.
The seed is printed. The exit code is 1 if an invariant was broken. Two minutes of it are part of
`cargo xtask test`.";
