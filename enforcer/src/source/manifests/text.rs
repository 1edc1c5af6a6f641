//! A file's text, and places in it.

use std::path::PathBuf;
use std::sync::Arc;

/// A stretch of a text.
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

/// A file's text.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) file: PathBuf,
    pub(super) source: Arc<str>,
    /// The byte offset of every line's start.
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

    pub(super) fn lines(&self) -> usize {
        self.starts.len()
    }

    /// The byte offset of a line (counted from 0).
    pub(super) fn line_start(&self, line: usize) -> usize {
        self.starts.get(line).copied().unwrap_or(self.source.len())
    }

    /// A line (counted from 0) without its break.
    pub(super) fn line(&self, line: usize) -> &str {
        let range = self.line_start(line)..self.line_start(line + 1);
        self.source.get(range).unwrap_or_default().trim_end_matches(['\n', '\r'])
    }

    /// The place from a line and column to another, both counted from 0; at most to the end of
    /// the first line.
    pub(super) fn place(&self, from: (usize, usize), to: (usize, usize)) -> Place {
        // The parser puts what is missing at the end behind the last line.
        let line = from.0.min(self.lines() - 1);
        let text = self.line(line);
        let column = if line == from.0 { from.1 } else { usize::MAX };
        let column = column.min(text.chars().count());
        let offset = |column| text.char_indices().nth(column).map_or(text.len(), |(at, _)| at);
        let start = offset(column);
        let end = if to.0 == line { offset(to.1) } else { text.trim_end().len() };
        Place {
            line: line + 1,
            column: column + 1,
            start: self.line_start(line) + start,
            length: end.saturating_sub(start),
        }
    }

    /// What is written at a place.
    pub(super) fn at(&self, place: Place) -> &str {
        self.source.get(place.start..place.start + place.length).unwrap_or_default()
    }

    /// The place of a byte.
    pub(super) fn place_of(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|&start| start <= offset).saturating_sub(1);
        let before = self.source.get(self.line_start(line)..offset).unwrap_or_default();
        let column = before.chars().count();
        self.place((line, column), (line, column + 1))
    }
}
