//! The documents' console blocks: commands, and what they print. Tests run them as they are written.

use std::fmt::Write as _;
use std::path::Path;

/// A command of a document, and its documented output.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// The command, as it is written.
    pub command: String,
    /// The lines of its documented output.
    pub output: Vec<String>,
}

/// The commands of a document's console blocks. A command may go on in a line behind a backslash.
#[must_use]
pub fn steps(document: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut is_inside = false;
    for line in document.lines() {
        match line {
            "```console" => is_inside = true,
            "```" => is_inside = false,
            _ if !is_inside => {}
            _ => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => {
                    steps.push(Step { command: command.to_owned(), output: Vec::new() });
                }
                (None, Some(last)) if last.command.ends_with('\\') => {
                    let _ = write!(last.command, "\n{line}");
                }
                (None, Some(last)) => last.output.push(line.to_owned()),
                // Without a command, it is no output.
                (None, None) => {}
            },
        }
    }
    steps
}

/// Whether an output is the documented one: `…` is the rest of a line, or any lines.
#[must_use]
pub fn agrees(documented: &[String], lines: &[String]) -> bool {
    match documented {
        [] => lines.is_empty(),
        [first, rest @ ..] if first == "…" => {
            (0..=lines.len()).any(|skipped| agrees(rest, lines.get(skipped..).unwrap_or_default()))
        }
        [first, rest @ ..] => match (lines.split_first(), first.strip_suffix('…')) {
            (Some((line, more)), Some(start)) => line.starts_with(start) && agrees(rest, more),
            (Some((line, more)), None) => line == first && agrees(rest, more),
            (None, _) => false,
        },
    }
}

/// A document of the repository.
///
/// # Errors
/// It can't be read.
pub fn document(path: &str) -> std::io::Result<String> {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_output_may_leave_lines_out() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        for (documented, printed) in [
            ("a", "a"),
            ("a\n…", "a\nb\nc"),
            ("…\nc", "a\nb\nc"),
            ("…", ""),
            ("a…\n…\nc", "abc\nb\nc"),
        ] {
            assert!(agrees(&lines(documented), &lines(printed)), "{documented} {printed}");
        }
        for (documented, printed) in
            [("a", "b"), ("a", "a\nb"), ("", "a"), ("…\nc", "a\nb"), ("b…", "a")]
        {
            assert!(!agrees(&lines(documented), &lines(printed)), "{documented} {printed}");
        }
        let found =
            steps("text\n```console\n$ a \\\n  b\nout\n$ c\n```\n$ no\n```yaml\n$ no\n```\n");
        let step =
            |command: &str, output: &str| Step { command: command.into(), output: lines(output) };
        assert_eq!(found, [step("a \\\n  b", "out"), step("c", "")]);
    }
}
