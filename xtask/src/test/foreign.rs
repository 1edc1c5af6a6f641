//! `test --arch`: the pure tests on another architecture, by emulation.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{Counts, Executable, executables, judge, variables};
use crate::arch::Arch;
use crate::cli::Test;
use crate::packages;
use crate::standalone::Builder;
use crate::ui::Step;
use crate::workspace::Profile;

/// The crates that run on nodes. What loads programs is left out: the emulator has no kernel, and
/// this machine's would take the calls for those of its own architecture.
const ON_NODES: [&str; 2] = ["enforcer", "enforcer-ebpf"];

/// How many cases a generated test tries, unless the variable says so: what depends on the
/// architecture shows in few, and the emulator takes its time.
const CASES: (&str, &str) = ("PROPTEST_CASES", "16");

/// Builds the tests for an architecture and runs them.
///
/// # Errors
/// They can't be built or started; failures of tests are in the counts.
pub(super) fn run(root: &Path, arch: Arch, options: &Test) -> Result<Counts> {
    let emulator = match Arch::HOST {
        Some(host) if host == arch => None,
        _ => Some(packages::obtain(arch.emulator())?),
    };
    let builder = Builder::obtain(root, arch)?;
    let step = Step::start(format!("building the tests for {}", arch.name()));
    let mut command = builder.cargo("test", Profile::Dev)?;
    // Optimising the tests themselves takes longer than they run, even by emulation.
    command.args(["--no-run", "--lib", "--config", "profile.dev.package.enforcer.opt-level=0"]);
    command.args(ON_NODES.iter().flat_map(|package| ["--package", package]));
    let programs = executables::build(&mut command, &step)?;
    step.done(builder.origin());
    programs.iter().map(|program| run_one(program, arch, emulator.as_deref(), options)).sum()
}

fn run_one(
    program: &Executable,
    arch: Arch,
    emulator: Option<&Path>,
    options: &Test,
) -> Result<Counts> {
    let mut command = started(&program.path, emulator);
    command.envs(variables(program)).current_dir(&program.folder).args(&options.filters);
    if emulator.is_some() && std::env::var_os(CASES.0).is_none() {
        command.env(CASES.0, CASES.1);
    }
    judge(&format!("{} on {}", program.name(), arch.name()), command, options)
}

/// A command that starts a program, by the emulator if there is one.
fn started(program: &Path, emulator: Option<&Path>) -> Command {
    let mut command = Command::new(emulator.unwrap_or(program));
    if emulator.is_some() {
        command.arg(program);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::shown;

    #[test]
    fn another_architectures_programs_are_started_by_the_emulator() {
        let program = Path::new("/t/tests");
        assert_eq!(shown(&started(program, None)), "/t/tests");
        assert_eq!(shown(&started(program, Some(Path::new("/q")))), "/q /t/tests");
    }
}
