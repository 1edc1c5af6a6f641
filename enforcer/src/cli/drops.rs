//! `enforcer drops`: the last dropped packets of this node.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::agent::AgentArgs;
use super::ask::ask;
use super::error::error_line;
use super::format::Format;
use crate::inspect::SCHEMA_VERSION;
use crate::observe::RecentDrop;

/// The help after the options.
pub(super) const HELP: &str =
    "One line for each attempt to connect, the oldest first; of a flood only \
some are known. With --output json, one object per line: see docs/json.md.

Exit codes: 0 success, 2 error.

Examples:
  enforcer drops
  enforcer drops --follow --namespace shop
  kubectl -n enforcer-system exec enforcer-x7k2p -- /enforcer drops -o json";

/// The time between two requests of `--follow`.
const INTERVAL: Duration = Duration::from_secs(1);

/// The arguments of `drops`.
#[derive(Debug, Args)]
pub struct DropsArgs {
    /// Wait for further drops.
    #[arg(long, short)]
    pub follow: bool,
    /// Only drops with an end in this namespace.
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,
    /// The agent.
    #[command(flatten)]
    pub agent: AgentArgs,
    /// Output format; json is one object per line.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// An object of the JSON output.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    version: u32,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    #[serde(flatten)]
    drop: &'a RecentDrop,
}

impl<'a> Line<'a> {
    /// `node`: if several are asked.
    pub(super) const fn of(drop: &'a RecentDrop, node: Option<&'a str>) -> Self {
        Self { version: SCHEMA_VERSION, kind: "drop", node, drop }
    }

    pub(super) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// Prints the drops.
///
/// # Errors
/// There is no agent at that address, or `out` can't be written.
pub fn run(arguments: &DropsArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let agent = arguments.agent.status;
    let mut after = print(agent, 0, arguments, out)?;
    if !arguments.follow {
        return Ok(());
    }
    loop {
        std::thread::sleep(INTERVAL);
        after = match print(agent, after, arguments, out) {
            Ok(after) => after,
            // Another agent counts from one again.
            Err(error) => {
                tracing::warn!("{}", error_line(&error));
                0
            }
        };
    }
}

/// Prints the drops after the attempt of a number. Returns the number of the last attempt.
fn print(
    agent: SocketAddr,
    after: u64,
    arguments: &DropsArgs,
    out: &mut impl Write,
) -> anyhow::Result<u64> {
    let answer = ask(agent, "GET", &format!("/drops?after={after}"), "")?;
    let drops: Vec<RecentDrop> = serde_json::from_str(&answer)
        .context("the agent's answer is not understood: it is of another version")?;
    for drop in drops.iter().rev().filter(|it| is_wanted(it, arguments.namespace.as_deref())) {
        line(drop, arguments.output, out)?;
    }
    out.flush()?;
    Ok(drops.first().map_or(after, |it| it.number))
}

/// Whether an end is in the namespace.
pub(super) fn is_wanted(drop: &RecentDrop, namespace: Option<&str>) -> bool {
    let Some(namespace) = namespace else { return true };
    let pod = |it: &Option<String>| {
        it.as_ref().and_then(|it| it.split_once('/')).map(|it| it.0.to_owned())
    };
    let end = |it: &Option<crate::observe::End>| it.as_ref().and_then(|it| pod(&it.pod));
    let drop = &drop.drop;
    let pods = [pod(&drop.pod), end(&drop.source), end(&drop.sender), end(&drop.destination)];
    pods.into_iter().flatten().any(|it| it == namespace)
}

fn line(drop: &RecentDrop, output: Format, out: &mut impl Write) -> anyhow::Result<()> {
    match output {
        Format::Json => {
            writeln!(out, "{}", Line::of(drop, None).json()?)?;
        }
        Format::Text => writeln!(out, "{}", sentence(drop))?,
    }
    Ok(())
}

/// A drop on one line, for people.
pub(super) fn sentence(drop: &RecentDrop) -> String {
    let RecentDrop { seconds_ago, repeats, drop, .. } = drop;
    let repeats = match repeats {
        0 => String::new(),
        repeats => format!(" ({} packets)", repeats.saturating_add(1)),
    };
    format!("{seconds_ago:>5} s ago  {drop}{repeats}")
}
