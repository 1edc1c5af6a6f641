//! `enforcer trace`: what the loaded programs do with a packet.

use clap::Args;

use super::agent::AgentArgs;
use super::ask::ask;
use super::connection::ConnectionArgs;
use crate::inspect::{Output, Trace, document};
use crate::observe::Asked;

/// The help after the options.
pub(super) const HELP: &str =
    "The agent builds the first packet of the connection and runs a second set of its programs on it (BPF_PROG_TEST_RUN), which read the live policy tables. No packet is sent; no flow, counter or event of the attached programs changes. A connection that exists may work although a new one would be denied: replies are not tried. Each step is shown beside the decision of the policies.

Ends: as of `enforcer explain`; at least one is a pod of this node.

Exit codes: 0 the kernel allows everything that was asked about, 1 it denies all of it, 3 some of it, 4 kernel and policies differ, or nobody answered for an end; 2 error.

Examples:
  enforcer trace shop/web-0 shop/db-0:5432
  enforcer trace shop/deploy/web shop/svc/db:5432 --all
  enforcer trace outside shop/web-0:443 --output json
  kubectl enforcer trace shop/web-0 shop/svc/db:5432";

/// The connection to try.
#[derive(Debug, Clone, Args)]
pub struct TraceView {
    /// The connection.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Output format.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Output,
}

/// The arguments of `trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// The connection.
    #[command(flatten)]
    pub view: TraceView,
    /// The agent.
    #[command(flatten)]
    pub agent: AgentArgs,
}

/// Tries a connection. Returns the text and the exit code.
///
/// # Errors
/// There is no agent at that address, an end does not exist, or the programs can't be run.
pub fn run(arguments: &TraceArgs) -> anyhow::Result<(String, u8)> {
    let path = arguments.view.connection.clone().live().path(Asked::Trace);
    let trace = read(&ask(arguments.agent.status, "GET", &path, "")?)?;
    print(&trace, arguments.view.output)
}

/// An agent's answer.
pub(super) fn read(json: &str) -> anyhow::Result<Trace> {
    Ok(serde_json::from_str(json)?)
}

/// The text and the exit code.
pub(super) fn print(trace: &Trace, output: Output) -> anyhow::Result<(String, u8)> {
    let text = document("trace", trace, output)?;
    Ok((text.unwrap_or_else(|| trace.to_string()), trace.exit_code()))
}
