//! The arguments of `enforcer-lab run`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::lab::{Fabric, Layout, MAX_NODES, Proxy, Topology};

/// The format of standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Tables and explanations.
    Table,
    /// One JSON document about the walk-through; progress goes to standard error.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// How pods are attached to the node [default: both, one after the other]
    #[arg(long)]
    topology: Option<Topology>,
    /// Number of nodes; pods run on the first, or on the one in their spec.nodeName (lab-node-2, …)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_NODES)))]
    nodes: u8,
    /// How nodes reach each other's pods
    #[arg(long, default_value = "routed")]
    fabric: Fabric,
    /// Rules that implement Services [default: iptables if installed, else nftables]
    #[arg(long)]
    proxy: Option<Proxy>,
    /// End after the walk-through; exit code 0 only if every result was as expected
    #[arg(long)]
    pub once: bool,
    /// Output format
    #[arg(long, default_value = "table")]
    pub output: Output,
    /// Use these manifests instead of the tutorial's
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// Start as an empty Kubernetes API server that the agent watches and kubectl drives. With
    /// --once: run the walk-through through the API server
    #[arg(long, conflicts_with = "manifests")]
    pub api: bool,
    /// The agent's binary; "none" runs no agent: nothing is enforced
    #[arg(long, value_name = "PATH")]
    pub agent: Option<PathBuf>,
    /// Address for the agent's metrics on this host [default: 127.0.0.1:9469, or another port if
    /// that one is taken; none with --once]
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
    /// Time for a change to take effect on every connection, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    settle: u64,
    /// Show the agent's log instead of writing it to a file
    #[arg(long)]
    pub agent_log: bool,
    /// Disable colours
    #[arg(long)]
    pub no_color: bool,
    /// Further arguments for the agent
    #[arg(last = true, value_name = "AGENT ARGUMENTS")]
    pub agent_arguments: Vec<OsString>,
}

impl RunOptions {
    pub(crate) fn topologies(&self) -> Vec<Topology> {
        self.topology.map_or_else(|| Topology::ALL.to_vec(), |one| vec![one])
    }

    pub(crate) fn layout(&self, topology: Topology) -> Layout {
        Layout { topology, nodes: self.nodes, fabric: self.fabric }
    }

    pub(crate) fn proxy(&self) -> Proxy {
        self.proxy.unwrap_or_else(Proxy::default_here)
    }

    pub(crate) fn settle(&self) -> Duration {
        Duration::from_millis(self.settle)
    }
}
