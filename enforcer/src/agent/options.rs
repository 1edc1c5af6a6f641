//! The options of the agent, as [`crate::cli`] fills them in.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::flow_log::FlowLogTarget;
use crate::kernel::Settings;
use crate::nri;
use crate::observe::PodMetrics;
use crate::source::kubernetes::ClientOptions;
use enforcer_core::model::DenyWith;

/// The options of the agent.
#[derive(Debug, Clone)]
pub struct Options {
    /// The source of the cluster's state.
    pub source: SourceOptions,
    /// The name of this node: pods with another `spec.nodeName` are not local.
    pub node_name: String,
    /// The addresses of the HTTP servers.
    pub listeners: Listeners,
    /// The log of flows; `None`: there is none.
    pub flow_log: Option<FlowLogTarget>,
    /// The labels of the packet metrics.
    pub pod_metrics: PodMetrics,
    /// Whether packets from a pod must carry one of its addresses (semantics P4).
    pub check_source: bool,
    /// The traffic that passes while the pod of an interface is unknown (semantics C6).
    pub unknown_pod: UnknownPod,
    /// Whether all policies are in audit: reported, and not enforced.
    pub audit: bool,
    /// What denied packets get where a namespace does not set it.
    pub deny_with: DenyWith,
    /// Names of the interfaces that lead off the node; empty: found by netlink.
    pub uplinks: BTreeSet<String>,
    /// The connection to the container runtime, which delays pods until their policy is programmed
    /// (semantics C6).
    pub nri: nri::Options,
    /// The directory of the container runtime's CNI results, which name the pod of each interface
    /// (semantics S6, C6); `None`: they are not used.
    pub cni_results: Option<PathBuf>,
    /// The hooks of the programs.
    pub attach: Attach,
    /// The directory in the BPF file system for state that outlives the agent (semantics C3);
    /// `None`: nothing outlives it.
    pub pins: Option<PathBuf>,
    /// The time between two sweeps of the drift check; zero: never.
    pub drift_interval: Duration,
    /// The settings of the programs and tables.
    pub settings: Settings,
}

/// The source of the cluster's state.
#[derive(Debug, Clone)]
pub enum SourceOptions {
    /// Directories of manifests.
    Manifests(Vec<PathBuf>),
    /// An API server.
    Kubernetes {
        /// The server and the credentials.
        client: ClientOptions,
        /// The agent's writes to the API server.
        writes: KubeWriteOptions,
    },
}

/// The agent's writes to the API server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KubeWriteOptions {
    /// Whether to create Events on policies that have a mistake or do not fit into the tables.
    pub events: bool,
    /// The key of the taint to remove from this node once policies are enforced.
    pub remove_taint: Option<String>,
}

/// The addresses of the HTTP servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listeners {
    /// Address for metrics, health and readiness; `None`: not served.
    pub metrics: Option<SocketAddr>,
    /// Loopback address for the status and the log filter; `None`: not served.
    pub status: Option<SocketAddr>,
    /// Loopback address of the web page; `None`: not served.
    pub page: Option<SocketAddr>,
}

/// The traffic that passes at a pod's interface until the pod is known (semantics C6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum UnknownPod {
    /// "deny" where the container runtime's records (its CNI results, or NRI) make pods known before
    /// their containers start, else "allow".
    #[default]
    Auto,
    /// All traffic, so that a new pod does not lose its first packets.
    Allow,
    /// Only the traffic of the link and of the node itself.
    Deny,
}

/// The hooks that the programs are attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Attach {
    /// TCX links where the kernel supports them, else clsact filters.
    #[default]
    Auto,
    /// Filters of a clsact qdisc.
    Clsact,
}
