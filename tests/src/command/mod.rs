//! `enforcer-lab`: the walk-through, and commands inside a running lab.

mod exec;
mod kubectl;
mod options;
mod report;
mod run;
mod scratch;
mod screen;
mod stay;
mod tutorial;
mod walk;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::lab::become_command;
use options::RunOptions;

/// A node and pods made of network namespaces, to try NetworkPolicies on one machine.
#[derive(Debug, Parser)]
#[command(name = "enforcer-lab", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Walks through the tutorial, or through manifests of one's own, with the agent enforcing.
    Run(RunOptions),
    /// Runs a command in a pod of a running lab ("namespace/name"), or in "node" or "outside".
    Exec(exec::ExecOptions),
    /// Becomes another command that dies with the lab (for the lab's own use).
    #[command(name = crate::lab::SPAWN_COMMAND, hide = true)]
    Spawn {
        /// The lab's process id.
        lab: u32,
        /// Where the BPF file system is that the command is to see.
        #[arg(long)]
        bpffs: Option<std::path::PathBuf>,
        /// Whether the command has the privileges of the agent's container, and no more.
        #[arg(long)]
        confined: bool,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Removes a directory as soon as standard input ends (for the lab's own use).
    #[command(name = scratch::SWEEP_COMMAND, hide = true)]
    Sweep {
        /// The directory.
        directory: std::path::PathBuf,
    },
}

/// The program: 0 when every cell was as expected, 1 when not, 2 when the lab itself failed.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run(options) => run::main(&options),
        Command::Exec(options) => exec::main(&options).map(|never| match never {}),
        Command::Spawn { lab, bpffs, confined, command } => {
            become_command(lab, bpffs.as_deref(), confined, &command)
                .map(|never| match never {})
                .map_err(anyhow::Error::from)
        }
        Command::Sweep { directory } => scratch::sweep(&directory),
    };
    result.unwrap_or_else(|error| {
        screen::complain(&format!("enforcer-lab: {error:#}"));
        ExitCode::from(2)
    })
}
