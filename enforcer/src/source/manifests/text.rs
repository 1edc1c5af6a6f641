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
    /// The byte offset of the end of each line, without the blanks at its end.
    ends: Vec<usize>,
    /// The characters before each chunk of [`CHUNK`] bytes.
    chunks: Vec<usize>,
}

/// Bytes between two counts of characters. A line may have megabytes and thousands of reports: to count
/// from its start each time would take minutes.
const CHUNK: usize = 512;

impl Text {
    pub(super) fn new(file: PathBuf, source: &str) -> Self {
        let bytes = source.as_bytes();
        let breaks = bytes.iter().enumerate().filter(|&(at, &byte)| {
            byte == b'\n' || (byte == b'\r' && bytes.get(at + 1) != Some(&b'\n'))
        });
        let starts: Vec<usize> = std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect();
        let count = |chunk: &[u8]| chunk.iter().filter(|it| is_first(**it)).count();
        let mut characters = 0;
        let mut chunks = Vec::new();
        for chunk in bytes.chunks(CHUNK) {
            chunks.push(characters);
            characters += count(chunk);
        }
        let mut text = Self { file, source: source.into(), starts, ends: Vec::new(), chunks };
        text.ends = text.lines().map(|(start, line)| start + line.trim_end().len()).collect();
        text
    }

    /// The characters before a chunk, and the bytes from its start to this one.
    fn chunk(&self, byte: usize) -> (usize, &[u8]) {
        let index = byte / CHUNK;
        let rest = self.source.as_bytes().get(index * CHUNK..byte).unwrap_or_default();
        match self.chunks.get(index) {
            Some(characters) => (*characters, rest),
            // At the end of a text of full chunks.
            None => {
                let last = index.saturating_sub(1);
                let rest = self.source.as_bytes().get(last * CHUNK..byte).unwrap_or_default();
                (self.chunks.get(last).copied().unwrap_or_default(), rest)
            }
        }
    }

    /// The number of characters before a byte.
    fn characters(&self, byte: usize) -> usize {
        let (before, rest) = self.chunk(byte);
        before + rest.iter().filter(|it| is_first(**it)).count()
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
        let end = self.ends.get(line).copied().unwrap_or_default();
        Place {
            line: line + 1,
            column: self.characters(start) - self.characters(line_start) + 1,
            start,
            length: length.min(end.saturating_sub(start)),
        }
    }
}
fn is_separator(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
}

/// Whether a byte is the first one of a character.
fn is_first(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_long_lines_need_a_bounded_part_of_them() {
        let line = "a\u{e4}\u{20ac}\u{1f600} ".repeat(20_000);
        let source = format!("x\n{line}  \ny");
        let text = Text::new(PathBuf::from("a"), &source);
        for (count, (at, _)) in line.char_indices().enumerate().step_by(997) {
            let place = text.place(2 + at, 1);
            assert_eq!((place.line, place.column, place.length), (2, count + 1, 1));
            assert!(text.chunk(2 + at).1.len() < CHUNK);
        }
        assert_eq!(text.place(source.len(), 5).column, 2);
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK] {
            let text = Text::new(PathBuf::from("a"), &"\u{e4}".repeat(length));
            assert_eq!(text.place(usize::MAX, 1).column, length + 1, "{length}");
            assert!(text.chunk(2 * length).1.len() <= CHUNK);
        }
    }
}
