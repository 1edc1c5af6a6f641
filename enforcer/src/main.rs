//! The agent's command line: arguments in, exit code out.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use enforcer::cli::{self, Cli, Command, LogFormat, RunArgs};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    start_logging(&cli.log, cli.log_format)?;
    match cli.command {
        Command::Run(arguments) => run(*arguments),
        Command::Check(arguments) => {
            let clean =
                cli::check::check(&arguments.manifests, arguments.output, &mut io::stdout())?;
            Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Cleanup(arguments) => {
            cli::cleanup::run(&arguments.pins, arguments.output, &mut io::stdout())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            cli::completions(shell, &mut io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run(arguments: RunArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(enforcer::agent::run(arguments.options()?))?;
    Ok(ExitCode::SUCCESS)
}

fn start_logging(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    // What the Kubernetes client says of itself is said again, once and in context, where it is used.
    let quiet = format!("kube_client=off,kube_runtime=off,{filter}");
    let filter = EnvFilter::try_new(quiet)
        .with_context(|| format!("--log {filter}: expected a level or filters"))?;
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => logger.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => logger.json().init(),
    }
    Ok(())
}
