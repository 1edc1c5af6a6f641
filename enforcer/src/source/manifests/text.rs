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

    /// The YAML document around a line (counted from 1).
    pub(super) fn document(&self, line: usize) -> &str {
        let at = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let (mut first, mut last) = (0, self.source.len());
        for (start, text) in self.lines().filter(|(_, text)| is_separator(text)) {
            if start <= at {
                first = (start + text.len() + 1).min(self.source.len());
            } else {
                last = start;
                break;
            }
        }
        self.source.get(first..last).unwrap_or_default()
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
