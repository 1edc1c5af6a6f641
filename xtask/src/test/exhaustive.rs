//! `test --exhaustive`: the generated tests, again and again with fresh seeds.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::executables::Executable;
use super::{Counts, command, judge};
use crate::cli::Test;
use crate::ui;
use crate::workspace;

/// How long it goes on, unless told otherwise.
const USUAL: Duration = Duration::from_secs(600);

/// A generated test: a target, the filter that chooses it, and how much a round asks of it. Each
/// reads one of the two seeds.
struct Generated {
    target: &'static str,
    filter: &'static str,
    effort: (&'static str, &'static str),
}

/// A round of all takes about two minutes.
const GENERATED: [Generated; 4] = [
    Generated { target: "enforcer", filter: "tables::tests::", effort: ("PROPTEST_CASES", "64") },
    Generated { target: "compile", filter: "compiled_", effort: ("PROPTEST_CASES", "512") },
    Generated { target: "fuzz", filter: "mutated_", effort: ("ENFORCER_FRAMES", "1000000") },
    Generated { target: "kernel", filter: "agree_with", effort: ("ENFORCER_PACKETS", "120000") },
];

/// Runs them until time is up or one fails, which is kept below `target/failures`.
///
/// # Errors
/// When one can't be started, or is not there.
pub(super) fn run(root: &Path, programs: &[Executable], options: &Test) -> Result<Counts> {
    let limit = options.duration.unwrap_or(USUAL);
    let started = Instant::now();
    let first = fresh_seed();
    let mut counts = Vec::new();
    for round in 0.. {
        let seed = first.wrapping_add(round);
        ui::say(format_args!(
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
                tell(test, seed, &failures);
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
    judge(&program.name(), command, options)
}

fn find<'a>(programs: &'a [Executable], target: &str) -> Result<&'a Executable> {
    let kinds = ["lib", "test"];
    let found = programs.iter().find(|it| it.target == target && kinds.contains(&it.kind.as_str()));
    found.with_context(|| format!("there is no test program {target}"))
}

fn seeds(seed: u64) -> Vec<(&'static str, String)> {
    vec![("ENFORCER_SEED", seed.to_string()), ("PROPTEST_RNG_SEED", seed.to_string())]
}

/// How a failure is repeated, and looked at.
fn tell(test: &Generated, seed: u64, failures: &Path) {
    let (variable, value) = test.effort;
    ui::say(format_args!(
        "  to repeat it: ENFORCER_SEED={seed} PROPTEST_RNG_SEED={seed} {variable}={value} \
         cargo xtask test {}",
        test.filter
    ));
    for folder in manifests(failures) {
        ui::say(format_args!(
            "  the smallest cluster: {0}\n  in the lab: cargo xtask run --manifests {0}/manifests",
            folder.display()
        ));
    }
}

/// The clusters that a failed test has kept.
fn manifests(failures: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(failures) else { return Vec::new() };
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut folders: Vec<_> = folders.filter(|it| it.join("manifests").is_dir()).collect();
    folders.sort();
    folders
}

/// Another one at each run.
fn fresh_seed() -> u64 {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    // Few digits are easier to pass on.
    now.as_secs() % 1_000_000 * 1_000
}

/// Reads `90s`, `10m` or `2h`; a bare number means seconds.
pub(crate) fn duration(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|it: char| !it.is_ascii_digit());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        other => bail!("`{other}` is no unit: write 90s, 10m or 2h"),
    };
    let number: u32 = digits.parse().with_context(|| format!("`{text}` is no duration"))?;
    Ok(Duration::from_secs(u64::from(number) * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let seconds = |text| duration(text).map(|it| it.as_secs()).ok();
        assert_eq!(seconds("45"), Some(45));
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds("10m"), Some(600));
        assert_eq!(seconds("2h"), Some(7_200));
        for wrong in ["", "m", "5d", "1.5h", "-3s", "1m30s"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_was_kept_is_found() {
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
