//! `lint`: formatting and clippy, for the host's crates and for the eBPF programs; links and
//! file names in the documents; import cycles; workflows and dependencies, where their programs can be
//! had.

mod cycles;
mod docs;
mod others;

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process;
use crate::ui::{self, Step};
use crate::workspace;

/// Runs every check, so that one run shows all mistakes.
///
/// # Errors
/// A check fails.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut format = workspace::cargo(root);
    format.args(["fmt", "--all", "--check"]);

    let mut host = workspace::cargo(root);
    host.args(["clippy", "--workspace", "--all-targets", "--keep-going", "--", "-D", "warnings"]);

    let mut programs = workspace::cargo(root);
    // For the host's target: clippy is tied to its own compiler, which may have no core library
    // for bpf. The programs can't run there, but they are the same code to a lint. A program
    // without the standard library can't unwind.
    programs.args(["clippy", "--package", "enforcer-ebpf", "--bin", "enforcer-ebpf"]);
    programs.args(["--features", "program", "--", "-D", "warnings"]);
    programs.env("CARGO_PROFILE_DEV_PANIC", "abort");

    let dependencies = "licences and sources of dependencies";
    let mut checks = vec![
        ("formatting", check("formatting", format)?),
        ("documents", own_check("documents", || docs::check(root))?),
        ("import cycles", own_check("import cycles", || cycles::check(root))?),
        ("lints", check("lints", host)?),
        ("lints of the eBPF programs", check("lints of the eBPF programs", programs)?),
    ];
    if let Some(command) = others::workflows(root)? {
        checks.push(("workflows", check("workflows", command)?));
    }
    if let Some(command) = others::dependencies(root) {
        checks.push((dependencies, check(dependencies, command)?));
    }
    let failed: Vec<_> =
        checks.iter().filter(|(_, passed)| !passed).map(|(name, _)| *name).collect();
    if !failed.is_empty() {
        bail!(
            "{} failed: see the messages above; `cargo fmt` corrects the formatting",
            failed.join(", ")
        );
    }
    Ok(())
}

/// Runs a check of this program's own; returns whether it passed.
fn own_check(name: &str, mistakes: impl FnOnce() -> Result<Vec<String>>) -> Result<bool> {
    let step = Step::start(name);
    let mistakes = mistakes()?;
    if mistakes.is_empty() {
        step.done("");
        return Ok(true);
    }
    drop(step);
    mistakes.iter().for_each(ui::print);
    Ok(false)
}

/// Runs a command; returns whether the check passed.
fn check(name: &str, mut command: Command) -> Result<bool> {
    let step = Step::start(name);
    let (status, lines) = process::collect(&mut command, &step, None)?;
    if status.success() {
        step.done("");
        return Ok(true);
    }
    drop(step);
    for line in lines.iter().filter(|line| !is_progress(line)) {
        ui::print(line);
    }
    Ok(false)
}

/// Whether a line is cargo's progress.
fn is_progress(line: &str) -> bool {
    let word = line.trim_start();
    ["Checking ", "Compiling ", "Blocking ", "Downloaded ", "Downloading "]
        .iter()
        .any(|start| line.starts_with(' ') && word.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::is_progress;

    #[test]
    fn progress_differs_from_messages() {
        assert!(is_progress("    Checking enforcer v0.1.0 (/w/enforcer)"));
        assert!(!is_progress("error: unused variable"));
        assert!(!is_progress("   --> enforcer/src/lib.rs:1:1"));
        assert!(!is_progress("Checking for this is quoted from a source line"));
    }
}
