//! Output for people.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::pin::pin;
use std::time::{Duration, Instant};

use owo_colors::{OwoColorize, Style as Paint};

use super::options::{Output, RunOptions};
use crate::matrix::Style;

/// The time after which a step that runs is named, and between two such lines.
const SILENCE: Duration = Duration::from_secs(2);
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The output for explanations and tables: standard output, or standard error if standard output is
/// for JSON.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    output: Output,
    color: bool,
}

impl Screen {
    pub(crate) fn new(options: &RunOptions) -> Self {
        let plain =
            options.no_color || std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
        let terminal = match options.output {
            Output::Table => stdout().is_terminal(),
            Output::Json => stderr().is_terminal(),
        };
        Self { output: options.output, color: terminal && !plain }
    }

    pub(crate) fn style(self) -> Style {
        Style { color: self.color }
    }

    pub(crate) fn heading(self, text: &str) {
        self.show(&format!("\n{}", self.paint(text, Paint::new().bold())));
    }

    /// Prints a dimmed remark.
    pub(crate) fn aside(self, text: &str) {
        for line in wrapped(text, WIDTH) {
            self.show(&self.paint(&line, Paint::new().dimmed()));
        }
    }

    /// Prints a success or a failure.
    pub(crate) fn verdict(self, good: bool, text: &str) {
        let paint = if good { Paint::new().green() } else { Paint::new().red().bold() };
        for line in text.lines().flat_map(|it| wrapped(it, WIDTH)) {
            self.show(&self.paint(&line, paint));
        }
    }

    /// Waits for a job, and reports it if it takes longer than two seconds.
    pub(crate) async fn waiting<T>(self, what: &str, job: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let mut job = pin!(job);
        let mut pause = SILENCE;
        loop {
            if let Ok(result) = tokio::time::timeout(pause, &mut job).await {
                return result;
            }
            pause = HEARTBEAT;
            // Standard error: progress is no result.
            let seconds = started.elapsed().as_secs();
            complain(&self.paint(&format!("  … {what} ({seconds} s)"), Paint::new().dimmed()));
        }
    }

    /// Prints sentences in lines of a terminal's width.
    pub(crate) fn prose(self, text: &str) {
        for line in wrapped(text, WIDTH) {
            self.show(&line);
        }
    }

    pub(crate) fn show(self, text: &str) {
        // A closed pipe (`| head`) does not stop the run: the exit code matters.
        let _ = match self.output {
            Output::Table => writeln!(stdout(), "{text}"),
            Output::Json => writeln!(stderr(), "{text}"),
        };
    }

    fn paint(self, text: &str, paint: Paint) -> String {
        if self.color { text.style(paint).to_string() } else { text.to_owned() }
    }
}

/// The width of a terminal.
const WIDTH: usize = 80;

/// A line in lines of at most `width` characters, broken at spaces; later lines are indented two
/// characters deeper than the first, if that is indented.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let indent = text.chars().take_while(|it| *it == ' ').count();
    let hanging = if indent == 0 { 0 } else { indent + 2 };
    let mut lines = Vec::new();
    let mut line = " ".repeat(indent);
    let mut is_empty = true;
    for word in text.split_whitespace() {
        let gap = usize::from(!is_empty);
        if !is_empty && line.chars().count() + gap + word.chars().count() > width {
            lines.push(std::mem::replace(&mut line, " ".repeat(hanging)));
        } else if gap > 0 {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines.push(line);
    lines
}

/// A number of things: "1 step", "2 steps".
pub(crate) fn count(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

pub(crate) fn document(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    writeln!(stdout(), "{text}")?;
    Ok(())
}

/// Prints an error on standard error.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_singular() {
        assert_eq!([0, 1, 2].map(|it| count(it, "step")), ["0 steps", "1 step", "2 steps"]);
    }

    #[test]
    fn lines_are_broken_at_spaces_and_hang() {
        assert_eq!(wrapped("  in: aaa bbb ccc", 12), ["  in: aaa", "    bbb ccc"]);
        assert_eq!(wrapped("aaa bbb", 7), ["aaa bbb"]);
        assert_eq!(wrapped("aaaaaaaaaa b", 4), ["aaaaaaaaaa", "b"]);
        assert_eq!(wrapped("", 4), [""]);
    }
}
