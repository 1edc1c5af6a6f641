//! `test --exhaustive`: repeats the generated tests with new seeds.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::executables::Executable;
use super::libtest::Counts;
use super::program::{command, run_program};
use crate::cli::Test;
use crate::ui;
use crate::workspace;

/// The default duration.
const USUAL: Duration = Duration::from_secs(600);

/// A generated test: its target, the filter that selects it, and the variable with its effort in a
/// round. Each reads one of the two seeds.
struct Generated {
    target: &'static str,
    filter: &'static str,
    effort: (&'static str, &'static str),
}

/// A round takes about three minutes.
const GENERATED: [Generated; 5] = [
    Generated {
        target: "enforcer_core",
        filter: "tables::tests::",
        effort: ("PROPTEST_CASES", "64"),
    },
    Generated { target: "compile", filter: "compiled_", effort: ("PROPTEST_CASES", "512") },
    Generated { target: "fuzz", filter: "mutated_", effort: ("ENFORCER_FRAMES", "1000000") },
    Generated { target: "kernel", filter: "agree_with", effort: ("ENFORCER_PACKETS", "120000") },
    Generated {
        target: "adversary",
        filter: "no_hostile_",
        effort: ("ENFORCER_HOSTILE", "100000"),
    },
];

/// Runs them until the time is up or one fails; a failure is kept below `target/failures`.
///
/// # Errors
/// A test program is missing or can't be started.
pub(super) fn run(root: &Path, programs: &[Executable], options: &Test) -> Result<Counts> {
    let limit = options.duration.unwrap_or(USUAL);
    let started = Instant::now();
    let first = fresh_seed();
    let mut counts = Vec::new();
    for round in 0.. {
        let seed = first.wrapping_add(round);
        ui::print(format_args!(
            "round {} with seed {seed}, {} of {}",
            round + 1,
            ui::seconds(started.elapsed()),
            ui::seconds(limit)
        ));
        for test in &GENERATED {
            let failures = workspace::target(root).join(format!("failures/{seed}"));
            let outcome = one(programs, test, seed, &failures, options)?;
            counts.push(outcome);
            if !outcome.is_success() {
                show_failure(test, seed, &failures);
                return Ok(counts.into_iter().sum());
            }
            if started.elapsed() >= limit {
                return Ok(counts.into_iter().sum());
            }
        }
    }
    Ok(counts.into_iter().sum())
}

fn one(
    programs: &[Executable],
    test: &Generated,
    seed: u64,
    failures: &Path,
    options: &Test,
) -> Result<Counts> {
    let program = find(programs, test.target)?;
    let mut variables = seeds(seed);
    variables.push(("ENFORCER_FAILURES", failures.display().to_string()));
    variables.push((test.effort.0, test.effort.1.to_owned()));
    let mut command = command(program, &variables);
    command.arg(test.filter);
    run_program(&program.name(), command, options)
}

fn find<'a>(programs: &'a [Executable], target: &str) -> Result<&'a Executable> {
    let kinds = ["lib", "test"];
    let found = programs.iter().find(|it| it.target == target && kinds.contains(&it.kind.as_str()));
    found.with_context(|| format!("there is no test program {target}"))
}

fn seeds(seed: u64) -> Vec<(&'static str, String)> {
    vec![("ENFORCER_SEED", seed.to_string()), ("PROPTEST_RNG_SEED", seed.to_string())]
}

/// Shows the commands to repeat and inspect a failure.
fn show_failure(test: &Generated, seed: u64, failures: &Path) {
    let (variable, value) = test.effort;
    ui::print(format_args!(
        "  to repeat it: ENFORCER_SEED={seed} PROPTEST_RNG_SEED={seed} {variable}={value} \
         cargo xtask test {}",
        test.filter
    ));
    for folder in manifests(failures) {
        ui::print(format_args!(
            "  the smallest cluster: {0}\n  in the lab: cargo xtask run --manifests {0}/manifests",
            folder.display()
        ));
    }
}

/// The clusters that failed tests have kept.
fn manifests(failures: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(failures) else { return Vec::new() };
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut folders: Vec<_> = folders.filter(|it| it.join("manifests").is_dir()).collect();
    folders.sort();
    folders
}

/// A different seed at each run.
fn fresh_seed() -> u64 {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    // Short, so that it is easy to pass on.
    now.as_secs() % 1_000_000 * 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_clusters_are_found() {
        let folder = tempfile::tempdir().unwrap();
        assert!(manifests(&folder.path().join("none")).is_empty());
        std::fs::create_dir_all(folder.path().join("kernel/manifests")).unwrap();
        std::fs::create_dir(folder.path().join("other")).unwrap();
        assert_eq!(manifests(folder.path()), [folder.path().join("kernel")]);
    }

    #[test]
    fn a_program_is_found_by_its_target() {
        let program = |target: &str, kind: &str| Executable {
            package: "p".to_owned(),
            target: target.to_owned(),
            kind: kind.to_owned(),
            folder: PathBuf::new(),
            path: PathBuf::from(kind),
        };
        let programs = [program("enforcer", "bin"), program("enforcer", "lib")];
        assert_eq!(find(&programs, "enforcer").unwrap().path, PathBuf::from("lib"));
        assert!(find(&programs, "fuzz").is_err());
    }
}
