//! The agent's command line: arguments in, exit code out.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use enforcer::cli::plugin::{AgentsArgs, PluginCli, PluginCommand, Questions};
use enforcer::cli::{self, Cli, Command, RunArgs};
use enforcer::observe::{LogFilter, LogFormat};

fn main() -> ExitCode {
    let program = std::env::args_os().next().unwrap_or_default();
    if cli::plugin::is_plugin(&program) {
        let PluginCli { agents, log, command } = PluginCli::parse();
        return start(&log, LogFormat::Text, false, |_| plugin(&agents, command));
    }
    let Cli { command, log, log_format } = Cli::parse();
    let is_agent = matches!(command, Command::Run(_));
    start(&log, log_format, is_agent, |log| dispatch(command, log))
}

/// Starts the log, and runs a command. The agent's error is a line of its log, that of another command an
/// answer to its user.
fn start(
    filter: &str,
    format: LogFormat,
    is_agent: bool,
    run: impl FnOnce(LogFilter) -> anyhow::Result<ExitCode>,
) -> ExitCode {
    let log = match LogFilter::start(filter, format, is_agent) {
        Ok(log) => log,
        Err(error) => {
            // The logger does not run yet.
            let _ = writeln!(io::stderr(), "--log: {error}");
            return ExitCode::from(2);
        }
    };
    match run(log) {
        Ok(code) => code,
        // As of a program that the signal ends: `enforcer drops | head` is no error.
        Err(error) if cli::is_reader_gone(&error) => ExitCode::from(128 + 13),
        Err(error) => {
            let line = cli::error_line(&error);
            if is_agent {
                tracing::error!("{line}");
            } else {
                let _ = writeln!(io::stderr(), "error: {line}");
            }
            ExitCode::from(2)
        }
    }
}

fn dispatch(command: Command, log: LogFilter) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(arguments) => return run(*arguments, log),
        Command::Check(arguments) => {
            let clean = cli::check::run(&arguments, &mut cli::screen())?;
            return Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Explain(arguments) => return inspect(cli::inspect::explain(*arguments)),
        Command::Trace(arguments) => return print(cli::trace::run(&arguments)?),
        Command::Describe(arguments) => return inspect(cli::inspect::describe(*arguments)),
        Command::Suggest(arguments) => return inspect(cli::suggest::run(*arguments)),
        Command::Diff(arguments) => return inspect(cli::inspect::diff(*arguments)),
        Command::Ui(arguments) => block_on(cli::page::ui(*arguments, &mut cli::screen()))?,
        Command::Report(arguments) => block_on(cli::page::report(*arguments))?,
        Command::Status(arguments) => cli::status::run(&arguments, &mut cli::screen())?,
        Command::Top(arguments) => cli::top::run(&arguments, &mut cli::screen())?,
        Command::Drops(arguments) => cli::drops::run(&arguments, &mut cli::screen())?,
        Command::Audit(arguments) => {
            let denies = block_on(cli::audit::run(*arguments, &mut cli::screen()))?;
            return Ok(if denies { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
        Command::Flows(arguments) => cli::flows::run(&arguments, &mut cli::screen())?,
        Command::LogLevel { filter, agent } => {
            cli::ask::log_level(agent.status, filter.as_deref(), &mut cli::screen())?;
        }
        Command::Cleanup(arguments) => {
            cli::cleanup::run(&arguments.pins, arguments.output, &mut cli::screen())?;
        }
        Command::Pause => pause()?,
        Command::Agents(questions) => {
            let Questions { agents, command } = *questions;
            return plugin(&agents, command);
        }
        Command::Completions { shell } => cli::completions(shell, &mut cli::screen())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn plugin(agents: &AgentsArgs, command: PluginCommand) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the async runtime")?;
    let code = runtime.block_on(cli::plugin::run(agents, command, &mut cli::screen()))?;
    Ok(ExitCode::from(code))
}

/// Waits for a signal. Handled, because the first process of a container ignores others.
fn pause() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}

/// Prints an answer, and exits with its code.
fn inspect(answer: impl Future<Output = anyhow::Result<(String, u8)>>) -> anyhow::Result<ExitCode> {
    print(block_on(answer)?)
}

fn print((text, code): (String, u8)) -> anyhow::Result<ExitCode> {
    cli::screen().write_all(text.as_bytes()).context("cannot print the answer")?;
    Ok(ExitCode::from(code))
}

fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the async runtime")?.block_on(future)
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
