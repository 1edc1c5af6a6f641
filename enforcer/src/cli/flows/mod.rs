//! `enforcer flows`: who talks to whom.

mod filter;
mod graph;
mod table;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use self::filter::Filter;
use super::agent::AgentArgs;
use super::ask::ask;
use super::error::error_line;
use crate::inspect::{Output, SCHEMA_VERSION, document};
use crate::observe::{FlowRecord, Flows};

/// The help after the options.
pub(super) const HELP: &str = "Flows by workload: of pods of this node, isolated or not, with the node, \
other pods and addresses outside. The agent reads its flow tables every ten seconds, every second once \
they are half full. A connection is missed only if its entry is reused in between: beyond 9,800 new \
connections per second (docs/flows.md). Denied attempts are known from drop events, of a flood only some. \
See docs/json.md for the JSON documents.

Exit codes: 0 success, 2 error.

Examples:
  enforcer flows
  enforcer flows --follow --namespace shop
  enforcer flows --policies
  enforcer flows --verdict denied --since 1h   # what the last hour denied
  enforcer flows --output mermaid";

/// The time between two requests of `--follow`.
const INTERVAL: Duration = Duration::from_secs(1);

/// The output formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum FlowOutput {
    /// A table for people.
    #[default]
    Table,
    /// JSON for programs; see docs/json.md.
    Json,
    /// A graph of workloads for Graphviz.
    Dot,
    /// A graph of workloads for Mermaid, as in Markdown.
    Mermaid,
}

/// What to show of flows.
#[derive(Debug, Args)]
pub struct FlowView {
    /// Which flows.
    #[command(flatten)]
    pub filter: Filter,
    /// Show the use of policies' rules instead: connections that each allowed, and unused ones.
    #[arg(long, conflicts_with_all = ["follow", "verdict", "since"])]
    pub policies: bool,
    /// Wait for further flows.
    #[arg(long, short)]
    pub follow: bool,
    /// Output format.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: FlowOutput,
}

/// The arguments of `flows`.
#[derive(Debug, Args)]
pub struct FlowsArgs {
    /// What to show.
    #[command(flatten)]
    pub view: FlowView,
    /// The agent.
    #[command(flatten)]
    pub agent: AgentArgs,
}

/// Prints the flows.
///
/// # Errors
/// There is no agent at that address, or `out` can't be written.
pub fn run(arguments: &FlowsArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let FlowsArgs { view, agent } = arguments;
    let read = |after: u64| flows(&ask(agent.status, "GET", &format!("/flows?after={after}"), "")?);
    let mut first = read(0)?;
    if !view.follow {
        return Ok(out.write_all(text(first, view)?.as_bytes())?);
    }
    let mut follower = Follower::default();
    let mut after = first.revision;
    view.filter.apply(&mut first);
    follower.print(&first.flows, view, out)?;
    loop {
        std::thread::sleep(INTERVAL);
        after = match read(after) {
            Ok(mut news) => {
                view.filter.apply(&mut news);
                let revision = news.revision;
                follower.print(&news.flows, view, out)?;
                // Another agent counts from one again.
                if revision < after { 0 } else { revision }
            }
            Err(error) => {
                tracing::warn!("{}", error_line(&error));
                after
            }
        };
    }
}

/// An agent's answer.
pub(super) fn flows(answer: &str) -> anyhow::Result<Flows> {
    serde_json::from_str(answer)
        .context("the agent's answer is not understood: it is of another version")
}

/// The flows in the format that was asked for.
pub(super) fn text(mut flows: Flows, view: &FlowView) -> anyhow::Result<String> {
    view.filter.apply(&mut flows);
    Ok(match view.output {
        FlowOutput::Table if view.policies => table::uses(&flows),
        FlowOutput::Table => table::flows(&flows),
        FlowOutput::Json => document("flows", &flows, Output::Json)?.unwrap_or_default(),
        FlowOutput::Dot => graph::dot(&flows),
        FlowOutput::Mermaid => graph::mermaid(&flows),
    })
}

/// An object of the JSON output.
#[derive(Serialize)]
struct Line<'a> {
    version: u32,
    kind: &'static str,
    #[serde(flatten)]
    flow: &'a FlowRecord,
}

/// Prints what is new.
#[derive(Default)]
pub(super) struct Follower {
    /// The connections that were printed, by what a flow's line begins with.
    printed: BTreeMap<String, u64>,
}

impl Follower {
    /// Prints the flows that changed, the oldest change first.
    pub(super) fn print(
        &mut self,
        flows: &[FlowRecord],
        view: &FlowView,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        for flow in flows.iter().rev() {
            if view.output == FlowOutput::Json {
                let line = Line { version: SCHEMA_VERSION, kind: "flow", flow };
                writeln!(out, "{}", serde_json::to_string(&line)?)?;
                continue;
            }
            let about = table::about(flow);
            let printed = self.printed.insert(about.clone(), flow.connections).unwrap_or_default();
            // Fewer than before: another agent counts.
            let new = flow.connections.checked_sub(printed).unwrap_or(flow.connections);
            let by = table::by(flow);
            let node = flow.node.as_ref().map(|it| format!("  {it}")).unwrap_or_default();
            writeln!(out, "{}  {about}, new: {new}; {by}{node}", flow.last_seen)?;
        }
        Ok(out.flush()?)
    }
}

#[cfg(test)]
mod tests;
