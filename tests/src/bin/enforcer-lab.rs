//! The lab's program: see `enforcer-lab --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    enforcer_tests::command::main()
}
