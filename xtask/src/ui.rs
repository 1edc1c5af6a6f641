//! Progress for people: a spinner on a terminal, plain lines in a log.
//!
//! Everything goes to standard error: standard output is for the results that scripts read
//! (`--output json`).

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The spinners of all steps: several may run side by side.
static SPINNERS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// The shortest time between two lines of a long step in a log.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Writes one line to standard error.
pub(crate) fn print(line: impl Display) {
    SPINNERS.suspend(|| {
        // A closed standard error (`2>&-`) is no reason to stop the work.
        let _ = writeln!(io::stderr().lock(), "{line}");
    });
}

/// One step of a task, until it is [`done`](Self::done). A step that is dropped has failed; its
/// error follows.
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
    /// Starts a step and shows it.
    pub(crate) fn start(label: impl Into<String>) -> Self {
        let label = label.into();
        let shown = if io::stderr().is_terminal() {
            Shown::Spinner(spinner(&label))
        } else {
            print(format_args!("  ... {label}"));
            Shown::Lines { last: Mutex::new(Instant::now()) }
        };
        Self { label, started: Instant::now(), shown, finished: false }
    }

    /// Shows the step's state, for example the newest line of a command's output.
    pub(crate) fn detail(&self, text: &str) {
        match &self.shown {
            Shown::Spinner(bar) => bar.set_message(text.trim().to_owned()),
            Shown::Lines { last } => {
                let Ok(mut last) = last.lock() else { return };
                if last.elapsed() >= HEARTBEAT && !text.trim().is_empty() {
                    *last = Instant::now();
                    let seconds = self.started.elapsed().as_secs();
                    print(format_args!("  ... {} ({seconds} s): {}", self.label, text.trim()));
                }
            }
        }
    }

    /// Ends the step with its result.
    pub(crate) fn done(self, outcome: &str) {
        self.end("ok ", outcome);
    }

    /// Ends the step without a result, where that is no error because another way follows.
    pub(crate) fn skipped(self, why: &str) {
        self.end("no ", why);
    }

    fn clear(&self) {
        if let Shown::Spinner(bar) = &self.shown {
            bar.finish_and_clear();
            SPINNERS.remove(bar);
        }
    }

    fn end(mut self, mark: &str, outcome: &str) {
        self.finished = true;
        self.clear();
        let separator = if outcome.is_empty() { "" } else { ": " };
        let took = seconds(self.started.elapsed());
        print(format_args!("  {mark} {}{separator}{outcome} ({took})", self.label));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        self.clear();
        let took = seconds(self.started.elapsed());
        print(format_args!("  failed: {} ({took})", self.label));
    }
}

/// A duration for people: `0.4 s`, `73 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(10) {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} s", duration.as_secs())
    }
}

fn spinner(label: &str) -> ProgressBar {
    let bar = SPINNERS.add(ProgressBar::new_spinner());
    // The template is a constant; the default style would do, too.
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
