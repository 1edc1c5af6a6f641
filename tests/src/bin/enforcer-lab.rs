//! The program of `cargo xtask run` and `cargo xtask exec`.

use std::process::ExitCode;

fn main() -> ExitCode {
    enforcer_tests::command::main()
}
