//! `explain`, `describe`, `diff` and `suggest` as the command line runs them: the answers are kept as golden
//! files in `snapshots`. Pure, except for the API server's stand-in: needs no root.
#![expect(clippy::unwrap_used, clippy::panic, reason = "how a test fails")]

mod cluster;
mod documents;
mod files;
mod plugin;
mod report;
mod schema;

use clap::Parser as _;
use enforcer::cli::{Cli, Command, error_line, inspect, suggest};

/// The output and the exit code of a command; an error has exit code 2.
async fn run(arguments: &[&str]) -> (String, u8) {
    let arguments = ["enforcer"].iter().chain(arguments);
    let answer = match Cli::try_parse_from(arguments).unwrap().command {
        Command::Explain(arguments) => inspect::explain(*arguments).await,
        Command::Describe(arguments) => inspect::describe(*arguments).await,
        Command::Diff(arguments) => inspect::diff(*arguments).await,
        Command::Suggest(arguments) => suggest::run(*arguments).await,
        other => panic!("{other:?}"),
    };
    answer.unwrap_or_else(|error| (format!("error: {}\n", error_line(&error)), 2))
}

/// The same for words separated by blanks.
async fn words(line: &str) -> (String, u8) {
    run(&line.split_whitespace().collect::<Vec<_>>()).await
}
