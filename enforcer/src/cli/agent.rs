//! Which agent to query.

use std::net::SocketAddr;

use clap::Args;

/// The default address of the status.
pub(super) const DEFAULT_STATUS: &str = "127.0.0.1:9469";

/// The agent to query.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// Address of the agent's status: its --status, or its --metrics if that is on loopback.
    #[arg(long, default_value = DEFAULT_STATUS, value_name = "ADDRESS:PORT")]
    pub status: SocketAddr,
}
