//! The setup of a session.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::PATIENCE;
use crate::api::ApiServer;
use crate::lab::{AccessLog, Layout, Proxy};
use crate::matrix::Scope;

/// The setup of a session.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// The directory of manifests.
    pub manifests: PathBuf,
    /// The `enforcer-lab` binary, which starts processes.
    pub spawner: PathBuf,
    /// The agent; `None`: nothing is enforced.
    pub agent: Option<PathBuf>,
    /// Further arguments for the agent.
    pub arguments: Vec<OsString>,
    /// Whether the agent's log goes to standard error instead of a file.
    pub show_log: bool,
    /// The time for a change to take effect in every cell.
    pub settle: Duration,
    /// The time for agents to become ready.
    pub ready: Duration,
    /// The measured receivers; `None`: those that the policies concern.
    pub scope: Option<Scope>,
    /// The nodes and their network; `None`: one node.
    pub layout: Option<Layout>,
    /// The kind of rules that implement Services.
    pub proxy: Proxy,
    /// The API server that holds the cluster, instead of the manifests.
    pub api: Option<ApiServer>,
    /// Whether the cluster has controllers, for workloads and endpoints, and shows the agents as a daemon set.
    pub controllers: bool,
    /// Where pods' servers note their requests.
    pub access_log: Option<AccessLog>,
}

impl SessionOptions {
    /// The default options.
    pub fn new(manifests: PathBuf, spawner: PathBuf, agent: Option<PathBuf>) -> Self {
        Self {
            manifests,
            spawner,
            agent,
            arguments: Vec::new(),
            show_log: false,
            settle: Duration::from_secs(2),
            ready: PATIENCE,
            scope: None,
            layout: None,
            proxy: Proxy::default_here(),
            api: None,
            controllers: false,
            access_log: None,
        }
    }
}
