//! Progress for people: a spinner on a terminal, plain lines in a log.
//!
//! Everything goes to standard error, so that what a task prints for scripts (`--output json`)
//! stays alone on standard output.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// In a log, a long step says at most this often what it is at.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Writes one line to standard error.
pub(crate) fn say(line: impl Display) {
    // A closed standard error (`2>&-`) is no reason to stop the work.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// One step of a task, from the moment it starts until it is [`done`](Self::done) or dropped
/// (which means it failed; the error that follows says why).
pub(crate) struct Step {
    label: String,
    started: Instant,
    shown: Shown,
    finished: bool,
}

enum Shown {
    Spinner(ProgressBar),
    Lines { last: Mutex<Instant> },
}

impl Step {
    /// Starts a step and says so.
    pub(crate) fn start(label: impl Into<String>) -> Self {
        let label = label.into();
        let shown = if io::stderr().is_terminal() {
            Shown::Spinner(spinner(&label))
        } else {
            say(format_args!("  ... {label}"));
            Shown::Lines { last: Mutex::new(Instant::now()) }
        };
        Self { label, started: Instant::now(), shown, finished: false }
    }

    /// What the step is at right now: the newest line of a command's output, say.
    pub(crate) fn detail(&self, text: &str) {
        match &self.shown {
            Shown::Spinner(bar) => bar.set_message(text.trim().to_owned()),
            Shown::Lines { last } => {
                let Ok(mut last) = last.lock() else { return };
                if last.elapsed() >= HEARTBEAT && !text.trim().is_empty() {
                    *last = Instant::now();
                    let seconds = self.started.elapsed().as_secs();
                    say(format_args!("  ... {} ({seconds} s): {}", self.label, text.trim()));
                }
            }
        }
    }

    /// Ends the step well, with what came of it.
    pub(crate) fn done(self, outcome: &str) {
        self.end("ok ", outcome);
    }

    /// Ends the step without its result, where that is no error: another way follows.
    pub(crate) fn skipped(self, why: &str) {
        self.end("no ", why);
    }

    fn end(mut self, mark: &str, outcome: &str) {
        self.finished = true;
        if let Shown::Spinner(bar) = &self.shown {
            bar.finish_and_clear();
        }
        let separator = if outcome.is_empty() { "" } else { ": " };
        let took = seconds(self.started.elapsed());
        say(format_args!("  {mark} {}{separator}{outcome} ({took})", self.label));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if let Shown::Spinner(bar) = &self.shown {
            bar.finish_and_clear();
        }
        let took = seconds(self.started.elapsed());
        say(format_args!("  failed: {} ({took})", self.label));
    }
}

/// A duration as people read it: `0.4 s`, `73 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(10) {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} s", duration.as_secs())
    }
}

fn spinner(label: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    // The template is a constant; without it the default style is good enough.
    if let Ok(style) = ProgressStyle::with_template("  {spinner} {prefix} [{elapsed}] {wide_msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(label.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_times_have_a_fraction_and_long_ones_none() {
        assert_eq!(seconds(Duration::from_millis(420)), "0.4 s");
        assert_eq!(seconds(Duration::from_millis(73_900)), "73 s");
    }
}
