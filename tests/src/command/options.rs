//! The arguments of `enforcer-lab run`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::lab::{Fabric, Layout, MAX_NODES, Proxy, Topology};

/// What standard output gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Tables and explanations.
    Table,
    /// One JSON document about the walk-through; progress goes to standard error.
    Json,
}

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// How pods are attached to the node; both, one after the other, unless given
    #[arg(long)]
    topology: Option<Topology>,
    /// How many nodes there are; pods are on the first unless their spec.nodeName says lab-node-2
    /// and so on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_NODES)))]
    nodes: u8,
    /// How nodes reach each other's pods
    #[arg(long, default_value = "routed")]
    fabric: Fabric,
    /// By which kind of rules Services work [default: iptables if it is installed, else nftables]
    #[arg(long)]
    proxy: Option<Proxy>,
    /// End after the walk-through
    #[arg(long)]
    pub once: bool,
    /// What to print
    #[arg(long, default_value = "table")]
    pub output: Output,
    /// Use these manifests instead of the tutorial's
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// Be a Kubernetes API server: the agent watches it, and kubectl drives the lab. The
    /// walk-through is left out, unless --once asks for nothing else
    #[arg(long, conflicts_with = "manifests")]
    pub api: bool,
    /// The agent's binary; "none" runs no agent, so that nothing is enforced
    #[arg(long, value_name = "PATH")]
    pub agent: Option<PathBuf>,
    /// Where to offer the agent's metrics on this host [default: 127.0.0.1:9469, or another port
    /// if that one is taken; with --once: nowhere]
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
    /// How long a probe waits for an answer before it counts as dropped, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 300)]
    timeout: u64,
    /// How long a change may take to show in every cell, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    settle: u64,
    /// Show the agent's log instead of keeping it aside
    #[arg(long)]
    pub agent_log: bool,
    /// Never use colours
    #[arg(long)]
    pub no_color: bool,
    /// Arguments for the agent
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

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout)
    }

    pub(crate) fn settle(&self) -> Duration {
        Duration::from_millis(self.settle)
    }
}
