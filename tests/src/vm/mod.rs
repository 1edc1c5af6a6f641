//! The init process of a virtual machine: it runs the tests in `/tests`, reports their results on
//! the console, and powers the machine off.
//!
//! `cargo xtask vm-test` starts the machine and reads the console. The lines of this module start
//! with `@@vm`; everything between `begin` and `end` is a test program's output.

mod console;
mod facts;
mod machine;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use anyhow::Context;

use console::mark;
use machine::files;

const TESTS: &str = "/tests";

/// Runs all tests, then powers off. The arguments are passed to each test program: the kernel
/// passes everything after `--` on its command line, and puts variables into the environment.
///
/// # Errors
/// The machine can't be powered off. All other errors are reported on the console.
pub fn main(arguments: &[String]) -> anyhow::Result<()> {
    match machine::prepare() {
        Ok(release) => {
            mark("kernel", &release);
            facts::report();
            if let Err(error) = run_all(arguments) {
                mark("error", &format!("{error:#}"));
            }
        }
        Err(error) => mark("error", &format!("{error:#}")),
    }
    mark("over", "");
    machine::power_off()
}

fn run_all(arguments: &[String]) -> anyhow::Result<()> {
    for program in files(Path::new(TESTS))? {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        mark("begin", &name);
        let status = Command::new(&program)
            .args(arguments)
            .status()
            .with_context(|| format!("can't start {}", program.display()))?;
        mark("end", &format!("{name} {}", code(status)));
    }
    Ok(())
}

/// The exit code as a shell would give it.
fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|it| 128 + it)).unwrap_or(255)
}
