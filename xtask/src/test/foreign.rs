//! `test --arch`: runs the pure tests on another architecture, by emulation.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::executables::{self, Executable};
use super::libtest::Counts;
use super::program::{AS_ROOT, run_program, variables};
use crate::arch::Arch;
use crate::cli::Test;
use crate::packages;
use crate::standalone::Builder;
use crate::ui::Step;
use crate::workspace::Profile;

/// The default number of cases of a generated test: few cases show a dependency on the
/// architecture, and the emulator is slow.
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
    // The crates that run on nodes. Tests that load programs are left out: the emulator has no
    // kernel, and this machine's kernel would read the calls as those of its own architecture.
    // Optimising the tests takes longer than running them, even by emulation.
    command.args(["--no-run", "--lib"]);
    for package in ["enforcer", "enforcer-core"] {
        command.args(["--config", &format!("profile.dev.package.{package}.opt-level=0")]);
    }
    command.args(["--workspace", "--exclude", AS_ROOT, "--exclude", "xtask"]);
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
    let mut command = start(&program.path, emulator);
    command.envs(variables(program)).current_dir(&program.folder).args(&options.filters);
    if emulator.is_some() && std::env::var_os(CASES.0).is_none() {
        command.env(CASES.0, CASES.1);
    }
    run_program(&format!("{} on {}", program.name(), arch.name()), command, options)
}

/// The command for a program, through the emulator if there is one.
fn start(program: &Path, emulator: Option<&Path>) -> Command {
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
        assert_eq!(shown(&start(program, None)), "/t/tests");
        assert_eq!(shown(&start(program, Some(Path::new("/q")))), "/q /t/tests");
    }
}
