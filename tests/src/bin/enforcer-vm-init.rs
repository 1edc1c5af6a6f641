//! The first process of the virtual machines of `cargo xtask vm-test`. It switches the machine off
//! that it runs on.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Anywhere else than in its machine this would be a mishap.
    if std::process::id() != 1 {
        complain("this is the init of a virtual machine: `cargo xtask vm-test`");
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

#[expect(clippy::print_stderr, reason = "the program's only way to say what went wrong")]
fn complain(error: &str) {
    eprintln!("enforcer-vm-init: {error}");
}
