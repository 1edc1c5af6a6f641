//! The first process of a virtual machine: it runs the tests that lie in `/tests`, says on the
//! console how each ended, and switches the machine off.
//!
//! `cargo xtask vm-test` makes the machine and reads the console. Lines of this module's own begin
//! with [`MARK`]; everything between `begin` and `end` is a test program's.

mod facts;
mod machine;

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::Context;

/// What this module's lines begin with; xtask's `vm/console.rs` looks for it.
pub const MARK: &str = "@@vm";

/// Where the test programs are.
const TESTS: &str = "/tests";

/// Runs everything, then switches off. The arguments are handed to each test program: the kernel
/// passes on what follows `--` on its command line, and puts variables into the environment.
///
/// # Errors
/// The machine can't be switched off. All else is said on the console.
pub fn main(arguments: &[String]) -> anyhow::Result<()> {
    match machine::prepare() {
        Ok(release) => {
            mark("kernel", &release);
            facts::tell();
            if let Err(error) = run_all(arguments) {
                mark("error", &format!("{error:#}"));
            }
        }
        Err(error) => mark("error", &format!("{error:#}")),
    }
    mark("over", "");
    machine::switch_off()
}

/// Says one line of the protocol; line breaks would end it too early.
fn mark(word: &str, rest: &str) {
    let rest = rest.replace(['\r', '\n'], " ");
    // The console may be in the middle of a line that a test program never ended.
    let _ = writeln!(io::stdout(), "\n{MARK} {word} {rest}");
}

fn run_all(arguments: &[String]) -> anyhow::Result<()> {
    for program in programs(Path::new(TESTS))? {
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

/// All files in a folder, by name.
fn programs(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))?;
    let mut paths = entries.map(|it| Ok(it?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// The exit code as a shell would give it.
fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|it| 128 + it)).unwrap_or(255)
}
