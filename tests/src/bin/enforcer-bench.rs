//! The benchmarks of `cargo xtask bench`.

use std::process::ExitCode;

use clap::Parser as _;
use enforcer_tests::bench;

fn main() -> ExitCode {
    bench::run(&bench::Options::parse()).unwrap_or_else(|error| {
        complain(&error);
        ExitCode::from(2)
    })
}

#[expect(clippy::print_stderr, reason = "the program's error output")]
fn complain(error: &anyhow::Error) {
    eprintln!("enforcer-bench: {error:#}");
}
