//! `kubectl enforcer`: the agents of a whole cluster, through the API server's port-forward.
//!
//! Belongs here: finding the agents, asking them, and one answer out of many. Does not belong here: the
//! formats for one agent, which are the other subcommands'.

mod agents;
mod arguments;
mod explain;
mod follow;
mod overview;
mod trace;
mod ui;

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;

use super::{audit, inspect, suggest};
use agents::Agents;
pub use arguments::{AgentsArgs, DropsView, PluginCli, PluginCommand, Questions, TopView, UiView};

/// The names of the program as kubectl's plugin.
const NAMES: [&str; 2] = ["kubectl-enforcer", "kubectl_enforcer"];

/// Whether the program was started as kubectl's plugin, by the name of the file or a link to it.
#[must_use]
pub fn is_plugin(program: &OsStr) -> bool {
    let name = Path::new(program).file_stem().and_then(OsStr::to_str);
    name.is_some_and(|it| NAMES.contains(&it))
}

/// Runs a subcommand that asks no agent; returns the command if it is another one.
async fn without_agents(
    arguments: &AgentsArgs,
    command: PluginCommand,
) -> anyhow::Result<Result<(String, u8), PluginCommand>> {
    Ok(Ok(match command {
        PluginCommand::Describe(mut it) => {
            it.source.client.default_to(arguments);
            inspect::describe(*it).await?
        }
        PluginCommand::Diff(mut it) => {
            it.client.default_to(arguments);
            inspect::diff(*it).await?
        }
        PluginCommand::Suggest(mut it) if !it.from.is_empty() => {
            it.source.client.default_to(arguments);
            let flows = suggest::read_all(&it.from)?;
            suggest::manifests(*it, flows).await?
        }
        other => return Ok(Err(other)),
    }))
}

/// Runs a subcommand; returns the exit code.
///
/// # Errors
/// The API server can't be read, there are no agents, or `out` can't be written.
pub async fn run(
    arguments: &AgentsArgs,
    command: PluginCommand,
    out: &mut impl Write,
) -> anyhow::Result<u8> {
    let command = match without_agents(arguments, command).await? {
        Ok(answer) => return print(answer, out),
        Err(other) => other,
    };
    let agents = Agents::find(arguments).await?;
    match command {
        PluginCommand::Status { output } => {
            overview::status(&agents.ask("/status").await, output, out)
        }
        PluginCommand::Problems { output } => {
            overview::problems(&agents.ask("/status").await, output, out)
        }
        PluginCommand::Top(view) => follow::top(&agents, &view, out).await,
        PluginCommand::Drops(view) => follow::drops(&agents, &view, out).await,
        PluginCommand::Flows(view) => follow::flows(&agents, &view, out).await,
        PluginCommand::Audit(mut view) => {
            view.source.client.default_to(arguments);
            let status = overview::answered(&agents.ask("/status").await);
            let flows = follow::merged(&agents).await;
            Ok(audit::print(&status, flows, *view, out).await?.into())
        }
        PluginCommand::Suggest(mut view) => {
            view.source.client.default_to(arguments);
            let seen = follow::merged(&agents).await;
            for silent in &seen.silent {
                tracing::warn!("{silent}: its flows are missing");
            }
            print(suggest::manifests(*view, seen.flows).await?, out)
        }
        PluginCommand::Explain(question) => {
            print(explain::explain(&agents, arguments, *question).await?, out)
        }
        // Answered above.
        PluginCommand::Describe(_) | PluginCommand::Diff(_) => Ok(2),
        PluginCommand::Ui(view) => ui::ui(agents, arguments, *view, out).await,
        PluginCommand::Trace(view) => print(trace::trace(&agents, arguments, &view).await?, out),
    }
}

fn print((text, code): (String, u8), out: &mut impl Write) -> anyhow::Result<u8> {
    out.write_all(text.as_bytes())?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_decides() {
        for name in ["kubectl-enforcer", "/usr/local/bin/kubectl-enforcer", "kubectl_enforcer.exe"]
        {
            assert!(is_plugin(OsStr::new(name)), "{name}");
        }
        for name in ["enforcer", "/kubectl-enforcer/enforcer", "kubectl", ""] {
            assert!(!is_plugin(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory as _;
        PluginCli::command().debug_assert();
    }
}
