//! `test`: builds every test once, runs each program where it belongs, and counts.

pub(crate) mod executables;
mod exhaustive;
mod foreign;
mod libtest;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

pub(crate) use exhaustive::duration;
pub(crate) use libtest::{Counts, counts, failures};

use crate::cli::{Proxy, Test};
use crate::ebpf;
use crate::lab;
use crate::privilege;
use crate::process;
use crate::tools;
use crate::ui::{self, Step};
use crate::workspace::{self, Profile};
use executables::Executable;

/// The package whose tests make network namespaces and load programs.
const AS_ROOT: &str = "enforcer-tests";

/// The crates whose tests need neither root nor the eBPF object.
const PURE: [&str; 3] = ["enforcer", "enforcer-ebpf", "xtask"];

/// Builds and runs the tests.
///
/// # Errors
/// When they can't be built or started; failures of tests are in the counts.
pub(crate) fn run(root: &Path, options: &Test) -> Result<Counts> {
    if let Some(arch) = options.arch {
        return foreign::run(root, arch, options);
    }
    let mut tools = Vec::new();
    if !options.quick {
        lab::check_system()?;
        tools = tools::obtain()?;
        lab::obtain_proxies(&[Proxy::Iptables, Proxy::Nftables])?;
        ebpf::build(root)?;
        // Cargo builds no program for another package's tests, and the lab's start the agent.
        lab::build_programs(root, Profile::Dev)?;
    }
    let programs = build(root, options)?;
    ask_for_root(&programs)?;
    if options.exhaustive {
        return exhaustive::run(root, &programs, options);
    }
    let mut counts: Vec<_> =
        programs.iter().map(|program| run_one(program, &tools, options)).collect::<Result<_>>()?;
    if !options.quick {
        counts.push(documentation(root, options)?);
    }
    Ok(counts.into_iter().sum())
}

fn build(root: &Path, options: &Test) -> Result<Vec<Executable>> {
    let step = Step::start("building the tests");
    let mut command = workspace::cargo(root);
    command.args(["test", "--no-run"]);
    if options.quick {
        command.args(PURE.iter().flat_map(|package| ["--package", package]));
    } else {
        command.arg("--workspace");
    }
    let mut programs = executables::build(&mut command, &step)?;
    // The quick ones first: a mistake shows soonest there.
    programs.sort_by_key(|program| (needs_root(program), program.name()));
    step.done(&format!("{} test programs", programs.len()));
    Ok(programs)
}

fn needs_root(program: &Executable) -> bool {
    program.package == AS_ROOT
}

/// Has sudo ask for the password now, on a clean terminal, not in the middle of the progress.
fn ask_for_root(programs: &[Executable]) -> Result<()> {
    if nix::unistd::geteuid().is_root() || !programs.iter().any(needs_root) {
        return Ok(());
    }
    ui::say(format_args!(
        "  Root is needed for the tests of {AS_ROOT}, which make network namespaces and load eBPF \
         programs; they are started by `sudo -- env … PROGRAM`."
    ));
    let status = process::run_here(Command::new("sudo").arg("-v"))?;
    if !status.success() {
        bail!("sudo refused; `cargo xtask test --quick` runs the tests that need no root");
    }
    Ok(())
}

fn run_one(
    program: &Executable,
    tools: &[(&'static str, String)],
    options: &Test,
) -> Result<Counts> {
    let mut command = command(program, tools);
    command.args(&options.filters);
    judge(&program.name(), command, options)
}

/// What starts a test program where it belongs, with cargo's variables and these.
fn command(program: &Executable, more: &[(&'static str, String)]) -> Command {
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

/// What cargo sets for a test that it runs itself, as far as tests look at it.
fn variables(program: &Executable) -> Vec<(&'static str, String)> {
    let folder = program.folder.display().to_string();
    let manifest = program.folder.join("Cargo.toml").display().to_string();
    vec![
        ("CARGO_MANIFEST_DIR", folder),
        ("CARGO_MANIFEST_PATH", manifest),
        ("CARGO_PKG_NAME", program.package.clone()),
    ]
}

fn documentation(root: &Path, options: &Test) -> Result<Counts> {
    let mut command = workspace::cargo(root);
    command.args(["test", "--doc", "--workspace", "--"]).args(&options.filters);
    judge("documentation", command, options)
}

/// Runs one test program and says how it went.
fn judge(name: &str, mut command: Command, options: &Test) -> Result<Counts> {
    let step = Step::start(name);
    let mut progress = Progress::default();
    let seen = |line: &str| {
        if let Some(text) = progress.see(line) {
            step.detail(&text);
        }
    };
    let (status, lines) = process::collect_with(&mut command, seen, None)
        .with_context(|| format!("the tests of {name}"))?;
    let counts = counts(&lines, status.success());
    if counts.failed == 0 {
        step.done(&counts.to_string());
    } else {
        drop(step);
        ui::say(format_args!("  {name}: {counts} ({status})"));
    }
    let shown = match (options.verbose, counts.failed) {
        (true, _) => lines.as_slice(),
        (false, 0) => &[],
        (false, _) => failures(&lines),
    };
    for line in shown {
        ui::say(format_args!("      {line}"));
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
        let counts = judge("true", Command::new("true"), &Test::default()).unwrap();
        assert_eq!(counts, Counts::ONE_FAILURE);
    }
}
