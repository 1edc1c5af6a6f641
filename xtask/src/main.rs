//! The project's own tasks: `cargo xtask help`.

mod apt;
mod arch;
mod ci;
mod cli;
mod ebpf;
mod image;
mod kubectl;
mod lab;
mod lint;
mod packages;
mod privilege;
mod process;
mod remap;
mod standalone;
mod system;
mod test;
mod toolchain;
mod tools;
mod ui;
mod vm;
mod workspace;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser};

use cli::{Cli, Task};
use test::Counts;

/// The exit code when this machine lacks something, as opposed to a failure of the project.
const UNFIT: u8 = 2;

/// This machine can't do what was asked for; the text says what is missing.
#[derive(Debug)]
pub(crate) struct Unfit(pub(crate) String);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unfit {}

fn main() -> ExitCode {
    match task(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            let unfit = error.downcast_ref::<Unfit>().is_some();
            report(&error, unfit);
            ExitCode::from(if unfit { UNFIT } else { 1 })
        }
    }
}

/// Says why a task ended.
pub(crate) fn report(error: &anyhow::Error, unfit: bool) {
    if unfit {
        ui::say(format_args!("xtask: {error}"));
    } else {
        ui::say(format_args!("xtask: error: {error:#}"));
    }
}

fn task(task: Task) -> Result<ExitCode> {
    if let Task::Completions { shell } = task {
        clap_complete::generate(shell, &mut Cli::command(), "xtask", &mut io::stdout());
        return Ok(ExitCode::SUCCESS);
    }
    let root = workspace::root()?;
    match task {
        Task::Completions { .. } => Ok(ExitCode::SUCCESS),
        Task::BuildEbpf => {
            let object = ebpf::build(&root)?;
            ui::say(format_args!("  {}", object.display()));
            Ok(ExitCode::SUCCESS)
        }
        Task::Run(options) => lab::run(&root, &options),
        Task::Exec(options) => lab::exec(&root, &options),
        Task::Test(options) => close(test::run(&root, &options)?, true),
        Task::Image(options) => image::run(&root, &options),
        Task::VmTest(options) => vm::run(&root, &options),
        Task::Bench(options) => lab::bench(&root, &options),
        Task::Lint => lint::run(&root).map(|()| ExitCode::SUCCESS),
        Task::Ci => {
            let (counts, well) = ci::run(&root)?;
            close(counts, well)
        }
    }
}

/// The closing line, alone on standard output, for people and for scripts.
fn close(counts: Counts, well: bool) -> Result<ExitCode> {
    writeln!(io::stdout(), "{counts}")?;
    let success = well && counts.is_success();
    Ok(if success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
