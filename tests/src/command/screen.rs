//! Output for people.

use std::io::{IsTerminal, Write, stderr, stdout};

use owo_colors::{OwoColorize, Style as Paint};

use super::options::{Output, RunOptions};
use crate::matrix::Style;

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
        self.show(&self.paint(text, Paint::new().dimmed()));
    }

    /// Prints a success or a failure.
    pub(crate) fn verdict(self, good: bool, text: &str) {
        let paint = if good { Paint::new().green() } else { Paint::new().red().bold() };
        self.show(&self.paint(text, paint));
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

pub(crate) fn document(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    writeln!(stdout(), "{text}")?;
    Ok(())
}

/// Prints an error on standard error.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}
