//! Runs jobs side by side in two lanes, so that one computes while the other one waits.
//!
//! Tests that send packets between pods mostly wait, and their time limits count. They run one
//! after the other in the first lane. The second lane has a lower priority and takes the jobs that
//! depend on no time limit; so does the first one once its own jobs are done.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::libtest::Counts;
use crate::ui;
use crate::unfit;

/// The lower priority, in steps of nice(2).
const NICENESS: i32 = 10;

/// One test program, or another part of a task.
pub(crate) struct Job<'a> {
    name: String,
    /// Whether its time limits count.
    is_timed: bool,
    run: Box<dyn FnOnce() -> Result<Outcome> + Send + 'a>,
}

/// How a job ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) counts: Counts,
    pub(crate) passed: bool,
}

/// A job that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    pub(crate) took: Duration,
}

impl From<Counts> for Outcome {
    fn from(counts: Counts) -> Self {
        Self { counts, passed: counts.failed == 0 }
    }
}

impl<'a> Job<'a> {
    pub(crate) fn new(
        name: impl Into<String>,
        is_timed: bool,
        run: impl FnOnce() -> Result<Outcome> + Send + 'a,
    ) -> Self {
        Self { name: name.into(), is_timed, run: Box::new(run) }
    }

    /// Runs the job; an error is reported and counts as a failed test.
    fn end(self) -> Ended {
        let started = Instant::now();
        let outcome = (self.run)().unwrap_or_else(|error| {
            unfit::report(&error);
            Counts::ONE_FAILURE.into()
        });
        Ended { name: self.name, outcome, took: started.elapsed() }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, outcome: Outcome { counts, passed }, took } = self;
        let (word, took) = (if *passed { "ok" } else { "FAILED" }, ui::seconds(*took));
        write!(f, "  {word:<6} {took:>6}  {name}")?;
        if *counts == Counts::default() { Ok(()) } else { write!(f, ": {counts}") }
    }
}

/// Runs all jobs and returns them in the order in which they ended.
pub(crate) fn run(jobs: Vec<Job<'_>>) -> Vec<Ended> {
    let (timed, others): (VecDeque<_>, VecDeque<_>) = jobs.into_iter().partition(|it| it.is_timed);
    let (timed, others) = (Mutex::new(timed), Mutex::new(others));
    let ended = Mutex::new(Vec::new());
    let finish = |job: Job<'_>| {
        let job = job.end();
        locked(&ended, |it| it.push(job));
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            // Of this thread and of the programs that it starts. A higher value is always allowed.
            let _ = rustix::process::nice(NICENESS);
            while let Some(job) = next(&others) {
                finish(job);
            }
        });
        while let Some(job) = next(&timed).or_else(|| next(&others)) {
            finish(job);
        }
    });
    ended.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn next<'a>(queue: &Mutex<VecDeque<Job<'a>>>) -> Option<Job<'a>> {
    locked(queue, VecDeque::pop_front)
}

fn locked<T, R>(value: &Mutex<T>, change: impl FnOnce(&mut T) -> R) -> R {
    change(&mut value.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use anyhow::bail;

    use super::*;

    #[test]
    fn a_timed_job_and_another_one_run_at_the_same_time() {
        let both = Barrier::new(2);
        let job = |name, is_timed| {
            Job::new(name, is_timed, || {
                both.wait();
                Ok(Counts { passed: 1, failed: 0, skipped: 0 }.into())
            })
        };
        let ended = run(vec![job("a", true), job("b", false)]);
        assert!(ended.len() == 2 && ended.iter().all(|it| it.outcome.passed));
    }

    #[test]
    fn timed_jobs_keep_their_order_and_an_error_is_a_failure() {
        let good = |name| Job::new(name, true, || Ok(Counts::default().into()));
        let bad = Job::new("bad", true, || bail!("no such program"));
        let ended = run(vec![good("one"), bad, good("two")]);
        let names: Vec<_> = ended.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["one", "bad", "two"]);
        assert!(!ended[1].outcome.passed);
        assert!(ended[1].to_string().contains("FAILED"), "{}", ended[1]);
        assert!(ended[0].to_string().ends_with("one"), "{}", ended[0]);
    }
}
