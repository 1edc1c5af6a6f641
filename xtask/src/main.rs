//! The project's own tasks: `cargo xtask help`.

mod apt;
mod arch;
mod cache;
mod ci;
mod cli;
mod duration;
mod ebpf;
mod image;
mod lab;
mod lint;
mod packages;
mod privilege;
mod process;
mod release;
mod remap;
mod standalone;
mod system;
mod test;
mod toolchain;
mod tools;
mod ui;
mod unfit;
mod version;
mod vm;
mod wheel;
mod workspace;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser};

use cli::{Cli, Task};
use test::Counts;

/// The exit code if this machine lacks something.
const UNFIT: u8 = 2;

fn main() -> ExitCode {
    match task(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => ExitCode::from(if unfit::report(&error) { UNFIT } else { 1 }),
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
            ui::print(format_args!("  {}", object.display()));
            Ok(ExitCode::SUCCESS)
        }
        Task::Run(options) => lab::run(&root, &options),
        Task::Exec(options) => lab::exec(&root, &options),
        Task::Test(options) => finish(test::run(&root, &options)?, true),
        Task::Image(options) => image::run(&root, &options),
        Task::VmTest(options) => vm::run(&root, &options),
        Task::Bench(options) => lab::bench(&root, &options),
        Task::Soak(options) => lab::soak(&root, &options),
        Task::ReleaseNotes { version } => {
            write!(io::stdout(), "{}", release::notes(&root, &version)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Lint => lint::run(&root).map(|()| ExitCode::SUCCESS),
        Task::Ci => {
            let (counts, passed) = ci::run(&root)?;
            finish(counts, passed)
        }
    }
}

/// Prints the closing line, the only one on standard output; returns the exit code.
fn finish(counts: Counts, passed: bool) -> Result<ExitCode> {
    writeln!(io::stdout(), "{counts}")?;
    let success = passed && counts.is_success();
    Ok(if success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
