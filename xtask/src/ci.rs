//! `ci`: everything that a change must pass.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::cli::{Run, Test};
use crate::test::lanes::{self, Ended, Job, Outcome};
use crate::test::{Counts, Tests};
use crate::ui::{self, Step};
use crate::vm::Brief;
use crate::workspace::Profile;
use crate::{lab, lint, process, unfit, vm};

/// Runs everything, also after a failure; returns the tests' counts and whether everything passed.
///
/// # Errors
/// This machine can't run the lab.
pub(crate) fn run(root: &Path) -> Result<(Counts, bool)> {
    lab::check_system()?;
    let started = Instant::now();
    let options = Test::default();
    let tests = Tests::prepare(root, &options);
    let built = started.elapsed();
    // The longest of the second lane first. The first lane takes its share of the machines.
    let mut jobs = vec![Job::new("lint", false, || Ok(lint(root)))];
    if vm::FITS {
        let machine = |it: Brief| Job::new(it.name(), false, move || vm::brief(root, it));
        jobs.extend(Brief::ALL.map(machine));
    } else {
        ui::print("  vm-test is for x86-64 only");
    }
    match &tests {
        Ok(tests) => {
            jobs.extend(tests.jobs(root, &options));
            jobs.push(Job::new("run --once", true, || walk(root)));
        }
        Err(error) => {
            unfit::report(error);
        }
    }
    let ended = lanes::run(jobs);
    let builds = Ended {
        name: "builds".to_owned(),
        outcome: tests.map_or(Counts::ONE_FAILURE, |_| Counts::default()).into(),
        took: built,
    };
    let ended: Vec<_> = std::iter::once(builds).chain(ended).collect();
    ended.iter().for_each(ui::print);
    ui::print(format_args!("  all of it took {}", ui::seconds(started.elapsed())));
    let counts = ended.iter().map(|it| it.outcome.counts).sum();
    Ok((counts, ended.iter().all(|it| it.outcome.passed)))
}

/// No test, so it has no counts.
fn lint(root: &Path) -> Outcome {
    let passed = match lint::run(root) {
        Ok(()) => true,
        Err(error) => {
            unfit::report(&error);
            false
        }
    };
    Outcome { counts: Counts::default(), passed }
}

/// Shows the tutorial in the lab that was built with the tests.
fn walk(root: &Path) -> Result<Outcome> {
    let options = Run { once: true, no_color: true, ..Run::default() };
    let step = Step::start("run --once");
    let mut command = lab::built(root, Profile::Dev, &options);
    let (status, lines) = process::collect(&mut command, &step, None)?;
    let passed = status.success();
    if passed {
        step.done("");
    } else {
        drop(step);
    }
    ui::print(lines.join("\n"));
    Ok(Outcome { counts: Counts::default(), passed })
}
