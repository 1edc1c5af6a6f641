//! `test`: builds every test once, runs each program where it belongs, and counts.

pub(crate) mod executables;
mod exhaustive;
mod foreign;
pub(crate) mod lanes;
mod libtest;
mod program;

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

pub(crate) use libtest::{Counts, counts, failures};

use crate::cli::{Proxy, Test};
use crate::ebpf;
use crate::lab;
use crate::process;
use crate::tools;
use crate::ui::{self, Step};
use crate::workspace;
use executables::Executable;
use lanes::Job;
use program::{AS_ROOT, command, needs_root, run_program};

/// The test programs that send packets between pods and wait for them.
const TIMED: [&str; 3] = ["adversary", "conformance", "scenarios"];

/// Builds and runs the tests.
///
/// # Errors
/// They can't be built; failures of tests are in the counts.
pub(crate) fn run(root: &Path, options: &Test) -> Result<Counts> {
    if let Some(arch) = options.arch {
        return foreign::run(root, arch, options);
    }
    let tests = Tests::prepare(root, options)?;
    if options.exhaustive {
        return exhaustive::run(root, &tests.programs, options);
    }
    let ended = lanes::run(tests.jobs(root, options));
    Ok(ended.iter().map(|it| it.outcome.counts).sum())
}

/// The built tests, and what they need.
pub(crate) struct Tests {
    programs: Vec<Executable>,
    tools: Vec<(&'static str, String)>,
}

impl Tests {
    /// Builds the tests and obtains what they need.
    ///
    /// # Errors
    /// Something doesn't build, or is missing.
    pub(crate) fn prepare(root: &Path, options: &Test) -> Result<Self> {
        let mut tools = Vec::new();
        if !options.quick {
            lab::check_system()?;
            tools = tools::obtain()?;
            lab::obtain_proxies(&[Proxy::Iptables, Proxy::Nftables])?;
            ebpf::build(root)?;
        }
        let programs = build(root, options)?;
        ask_for_root(&programs)?;
        Ok(Self { programs, tools })
    }

    /// One job for each test program, and one for the documentation's tests.
    pub(crate) fn jobs<'a>(&'a self, root: &'a Path, options: &'a Test) -> Vec<Job<'a>> {
        let job = |program: &'a Executable| {
            let is_timed = TIMED.contains(&program.target.as_str());
            Job::new(program.name(), is_timed, move || {
                let mut command = command(program, &self.tools);
                command.args(&options.filters);
                Ok(run_program(&program.name(), command, options)?.into())
            })
        };
        let mut jobs: Vec<_> = self.programs.iter().map(job).collect();
        if !options.quick {
            jobs.push(Job::new("documentation", false, || {
                let mut command = workspace::cargo(root);
                command.args(["test", "--doc", "--workspace", "--"]).args(&options.filters);
                Ok(run_program("documentation", command, options)?.into())
            }));
        }
        jobs
    }
}

fn build(root: &Path, options: &Test) -> Result<Vec<Executable>> {
    let step = Step::start("building the tests");
    let mut command = workspace::cargo(root);
    command.args(["build", "--workspace", "--tests"]);
    if options.quick {
        command.args(["--exclude", AS_ROOT]);
    } else {
        // With the agent and the lab, which the tests start. Built apart, they and most of their
        // dependencies would be compiled a second time, with other features.
        command.arg("--bins");
    }
    let mut programs = executables::build(&mut command, &step)?;
    // The quick ones first: they show a mistake soonest.
    programs.sort_by_key(|program| (needs_root(program), program.name()));
    step.done(&format!("{} test programs", programs.len()));
    Ok(programs)
}

/// Has sudo ask for the password now, on a clean terminal, not in the middle of the progress.
fn ask_for_root(programs: &[Executable]) -> Result<()> {
    if nix::unistd::geteuid().is_root() || !programs.iter().any(needs_root) {
        return Ok(());
    }
    ui::print(format_args!(
        "  Root is needed for the tests of {AS_ROOT}, which make network namespaces and load eBPF \
         programs; they are started by `sudo -- env … PROGRAM`."
    ));
    let status = process::run_here(Command::new("sudo").arg("-v"))?;
    if !status.success() {
        bail!("sudo failed; `cargo xtask test --quick` runs the tests that need no root");
    }
    Ok(())
}
