//! The text of a file, and places in it.

use std::path::PathBuf;
use std::sync::Arc;

/// A range of a text within one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    /// Counted from 1.
    pub(super) line: usize,
    /// In characters, counted from 1.
    pub(super) column: usize,
    /// In bytes.
    pub(super) start: usize,
    /// In bytes.
    pub(super) length: usize,
}

/// The text of a file.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) file: PathBuf,
    pub(super) source: Arc<str>,
    /// The byte offset of the start of each line.
    starts: Vec<usize>,
}

impl Text {
    pub(super) fn new(file: PathBuf, source: &str) -> Self {
        let bytes = source.as_bytes();
        let breaks = bytes.iter().enumerate().filter(|&(at, &byte)| {
            byte == b'\n' || (byte == b'\r' && bytes.get(at + 1) != Some(&b'\n'))
        });
        let starts = std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect();
        Self { file, source: source.into(), starts }
    }

    /// The byte offset and the text of each line.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.starts.iter().enumerate().map(|(line, &start)| (start, self.line(line)))
    }

    /// A line (counted from 0) without its break.
    pub(super) fn line(&self, line: usize) -> &str {
        let start = |line| self.starts.get(line).copied().unwrap_or(self.source.len());
        let range = start(line)..start(line + 1);
        self.source.get(range).unwrap_or_default().trim_end_matches(['\n', '\r'])
    }

    /// The YAML document around a line (counted from 1), and the number of lines before it. A line that
    /// begins with `---` separates documents wherever it is.
    pub(super) fn document(&self, line: usize) -> (usize, &str) {
        let is_separator = |it: &usize| is_separator(self.line(*it));
        let before = (0..line.min(self.starts.len())).rev().find(is_separator);
        let after = (line..self.starts.len()).find(is_separator);
        let start = |line: usize| self.starts.get(line).copied().unwrap_or(self.source.len());
        let first = before.map_or(0, |it| it + 1);
        let last = after.map_or(self.source.len(), start);
        (first, self.source.get(start(first)..last).unwrap_or_default())
    }

    /// The place of a byte range, cut at the end of its first line.
    pub(super) fn place(&self, start: usize, length: usize) -> Place {
        let start = start.min(self.source.len());
        let line = self.starts.partition_point(|&it| it <= start).saturating_sub(1);
        let line_start = self.starts.get(line).copied().unwrap_or_default();
        let before = self.source.get(line_start..start).unwrap_or_default();
        let end = line_start + self.line(line).trim_end().len();
        Place {
            line: line + 1,
            column: before.chars().count() + 1,
            start,
            length: length.min(end.saturating_sub(start)),
        }
    }
}
fn is_separator(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
}
