//! One test program: how it is started, and what it reports.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context, Result};

use super::executables::Executable;
use super::libtest::{self, Counts, counts, failures};
use crate::cli::Test;
use crate::privilege;
use crate::process;
use crate::ui::{self, Step};

/// The package whose tests make network namespaces and load programs.
pub(super) const AS_ROOT: &str = "enforcer-tests";

pub(super) fn needs_root(program: &Executable) -> bool {
    program.package == AS_ROOT
}

/// The command for a test program: as root if it needs to be, with cargo's variables and these.
pub(super) fn command(program: &Executable, more: &[(&'static str, String)]) -> Command {
    let mut variables = variables(program);
    variables.extend_from_slice(more);
    let mut command = if needs_root(program) {
        let mut command = privilege::as_root("env");
        command.args(variables.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(&program.path);
        command
    } else {
        let mut command = Command::new(&program.path);
        command.envs(variables);
        command
    };
    command.current_dir(&program.folder);
    command
}

/// The variables that cargo sets for a test that it runs itself, as far as tests read them.
pub(super) fn variables(program: &Executable) -> Vec<(&'static str, String)> {
    let folder = program.folder.display().to_string();
    let manifest = program.folder.join("Cargo.toml").display().to_string();
    vec![
        ("CARGO_MANIFEST_DIR", folder),
        ("CARGO_MANIFEST_PATH", manifest),
        ("CARGO_PKG_NAME", program.package.clone()),
    ]
}

/// Runs one test program and reports the result.
pub(super) fn run_program(name: &str, mut command: Command, options: &Test) -> Result<Counts> {
    let step = Step::start(name);
    let mut progress = Progress::default();
    let seen = |line: &str| {
        if let Some(text) = progress.see(line) {
            step.detail(&text);
        }
    };
    let (status, lines) = process::collect_with(&mut command, seen, None)
        .with_context(|| format!("can't run the tests of {name}"))?;
    let counts = counts(&lines, status.success());
    // In one piece, since another lane may report at the same time.
    let mut report = String::new();
    if counts.failed == 0 {
        step.done(&counts.to_string());
    } else {
        drop(step);
        let _ = writeln!(report, "  {name}: {counts} ({status})");
    }
    let shown = match (options.verbose, counts.failed) {
        (true, _) => lines.as_slice(),
        (false, 0) => &[],
        (false, _) => failures(&lines),
    };
    for line in shown {
        let _ = writeln!(report, "      {line}");
    }
    if !report.is_empty() {
        ui::print(report.trim_end_matches('\n'));
    }
    Ok(counts)
}

/// How far a test program is.
#[derive(Default)]
struct Progress {
    announced: u64,
    finished: u64,
}

impl Progress {
    fn see(&mut self, line: &str) -> Option<String> {
        if let Some(number) = libtest::announced(line) {
            self.announced += number;
        }
        let name = libtest::finished(line)?;
        self.finished += 1;
        Some(format!("{} of {}: {name}", self.finished, self.announced))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_counts_what_has_finished() {
        let mut progress = Progress::default();
        assert_eq!(progress.see("running 2 tests"), None);
        assert_eq!(progress.see("test a ... ok"), Some("1 of 2: a".to_owned()));
        assert_eq!(progress.see("some output"), None);
        assert_eq!(progress.see("test b ... FAILED"), Some("2 of 2: b".to_owned()));
    }

    #[test]
    fn a_program_that_prints_no_summary_is_a_failure() {
        let counts = run_program("true", Command::new("true"), &Test::default()).unwrap();
        assert_eq!(counts, Counts::ONE_FAILURE);
    }
}
