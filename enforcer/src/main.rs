//! The agent's command line: arguments in, exit code out.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use enforcer::cli::{self, Cli, Command, RunArgs};
use enforcer::observe::LogFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = match LogFilter::start(&cli.log, cli.log_format) {
        Ok(log) => log,
        Err(error) => {
            // The logger does not run yet.
            let _ = writeln!(io::stderr(), "--log: {error}");
            return ExitCode::from(2);
        }
    };
    match dispatch(cli.command, log) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{}", cli::error_line(&error));
            ExitCode::from(2)
        }
    }
}

fn dispatch(command: Command, log: LogFilter) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(arguments) => return run(*arguments, log),
        Command::Check(arguments) => {
            let clean =
                cli::check::check(&arguments.manifests, arguments.output, &mut io::stdout())?;
            return Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Status(agent) => cli::ask::status(agent.status, &mut io::stdout())?,
        Command::LogLevel { filter, agent } => {
            cli::ask::log_level(agent.status, filter.as_deref(), &mut io::stdout())?;
        }
        Command::Cleanup(arguments) => {
            cli::cleanup::run(&arguments.pins, arguments.output, &mut io::stdout())?;
        }
        Command::Completions { shell } => cli::completions(shell, &mut io::stdout()),
    }
    Ok(ExitCode::SUCCESS)
}

fn run(arguments: RunArgs, log: LogFilter) -> anyhow::Result<ExitCode> {
    enforcer::kernel::share_one_arena();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(enforcer::agent::run(arguments.options()?, log))?;
    Ok(ExitCode::SUCCESS)
}
