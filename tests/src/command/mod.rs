//! `enforcer-lab`: the walk-through, and commands inside a running lab.
//!
//! Here belong arguments and output. Building and measuring the lab belongs to
//! [`session`](crate::session).

mod applet;
mod exec;
mod kubectl;
mod options;
mod pods;
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

/// Tries NetworkPolicies on one machine, on nodes and pods made of network namespaces.
#[derive(Debug, Parser)]
#[command(name = "enforcer-lab", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Walk through the tutorial or your own manifests, enforced by the agent.
    Run(RunOptions),
    /// Run a command in a pod of a running lab, or in "node" or "outside".
    Exec(exec::ExecOptions),
    /// Become another command that ends with the lab (internal).
    #[command(name = crate::lab::SPAWN_COMMAND, hide = true)]
    Spawn {
        /// The lab's process id.
        lab: u32,
        /// The BPF file system that the command uses.
        #[arg(long)]
        bpffs: Option<std::path::PathBuf>,
        /// Restrict the command to the privileges of the agent's container.
        #[arg(long)]
        confined: bool,
        /// A capability that the container has besides; may be repeated.
        #[arg(long, requires = "confined", value_name = "NAME")]
        capability: Vec<caps::Capability>,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Run a program as the tutorial's images have it (internal).
    #[command(name = applet::COMMAND, hide = true)]
    Applet {
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Remove a directory when standard input ends (internal).
    #[command(name = scratch::SWEEP_COMMAND, hide = true)]
    Sweep {
        /// The directory.
        directory: std::path::PathBuf,
    },
}

/// The program. Exit code 0: every result as expected; 1: not; 2: the lab itself failed.
pub fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run(options) => run::main(&options),
        Command::Exec(options) => exec::main(&options).map(|never| match never {}),
        Command::Spawn { lab, bpffs, confined, capability, command } => {
            let confined = confined.then_some(capability.as_slice());
            become_command(lab, bpffs.as_deref(), confined, &command)
                .map(|never| match never {})
                .map_err(anyhow::Error::from)
        }
        Command::Applet { command } => applet::main(&command),
        Command::Sweep { directory } => scratch::sweep(&directory),
    };
    result.unwrap_or_else(|error| {
        screen::complain(&format!("enforcer-lab: {error:#}"));
        ExitCode::from(2)
    })
}
