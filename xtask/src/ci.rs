//! `ci`: everything that a change must pass.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Run, Test};
use crate::test::Counts;
use crate::unfit::report;
use crate::{lab, lint, test, ui, vm};

/// Runs all stages, also after one has failed, and returns the tests' counts and whether all was
/// well.
pub(crate) fn run(root: &Path) -> Result<(Counts, bool)> {
    lab::check_system()?;
    ui::say("lint");
    let linted = stage(lint::run(root));
    ui::say("test");
    let tested = test::run(root, &Test::default());
    let (counts, tests_ran) = match tested {
        Ok(counts) => (counts, true),
        Err(error) => (Counts::ONE_FAILURE, stage(Err(error))),
    };
    ui::say("run --once");
    let walked = lab::run(root, &Run { once: true, no_color: true, ..Run::default() });
    let walked = match walked {
        Ok(code) => code == ExitCode::SUCCESS,
        Err(error) => stage(Err(error)),
    };
    let (on_kernels, booted) = other_kernels(root);
    let verdict = |good: bool| if good { "ok" } else { "FAILED" };
    ui::say(format_args!(
        "lint: {}, test: {}, run --once: {}, vm-test: {}",
        verdict(linted),
        verdict(tests_ran && counts.is_success()),
        verdict(walked),
        verdict(booted)
    ));
    let well = linted && tests_ran && counts.is_success() && walked && booted;
    Ok(([counts, on_kernels].into_iter().sum(), well))
}

/// A few tests on other kernels, where the machines can be had.
fn other_kernels(root: &Path) -> (Counts, bool) {
    if !vm::FITS {
        ui::say("vm-test is for x86-64 only");
        return (Counts::default(), true);
    }
    ui::say("vm-test, in brief");
    match vm::brief(root) {
        Ok(outcome) => outcome,
        Err(error) => (Counts::ONE_FAILURE, stage(Err(error))),
    }
}

/// Whether a stage went well; says why not.
fn stage(result: Result<()>) -> bool {
    match result {
        Ok(()) => true,
        Err(error) => {
            report(&error);
            false
        }
    }
}
