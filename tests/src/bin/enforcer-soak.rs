//! The soak test of `cargo xtask soak`.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use enforcer_tests::lab::{Sandbox, Topology};
use enforcer_tests::sibling;
use enforcer_tests::soak::{Options, Summary, soak};

/// Changes pods and policies, kills and stops the agent, floods pods, and checks throughout that every
/// connection is as policy says and that nothing leaks.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long to go on
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u64,
    /// What happens follows from this number [default: the time]
    #[arg(long)]
    seed: Option<u64>,
    /// How pods are attached to the node
    #[arg(long, value_enum, default_value = "azure-cni")]
    topology: Topology,
    /// Arguments for the agent
    #[arg(last = true, value_name = "AGENT ARGUMENTS")]
    agent: Vec<std::ffi::OsString>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(summary) => {
            let _ = writeln!(std::io::stdout(), "{summary}");
            if summary.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "enforcer-soak: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<Summary> {
    let now = || std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    let options = Options {
        duration: Duration::from_secs(60 * arguments.minutes),
        seed: arguments.seed.unwrap_or_else(now),
        topology: arguments.topology,
        agent: sibling("enforcer")?,
        spawner: sibling("enforcer-lab")?,
        arguments: arguments.agent,
        is_verbose: true,
    };
    // Before the runtime starts its threads, which inherit the mounts of this one.
    let sandbox = Sandbox::enter().context("the lab needs root")?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(soak(&sandbox, &options))
}
