//! The init process of the virtual machines of `cargo xtask vm-test`. It powers its machine off.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Not on a developer's machine.
    if std::process::id() != 1 {
        complain("this is the init process of a virtual machine; run: cargo xtask vm-test");
        return ExitCode::from(2);
    }
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match enforcer_tests::vm::main(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the program's error output")]
fn complain(error: &str) {
    eprintln!("enforcer-vm-init: {error}");
}
