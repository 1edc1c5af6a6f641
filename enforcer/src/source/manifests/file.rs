//! A file: its bytes → its objects, and which version of it is in effect.

use std::path::Path;
use std::sync::Arc;

use super::document::{self, Parsed};
use super::object::Object;
use super::report::Report;
use super::text::{Place, Text};
use super::yaml;
use crate::source::remark::Severity;

/// Bytes that a file may have.
const MOST_BYTES: usize = 16 << 20;

/// A file that was read.
#[derive(Debug)]
pub(super) struct File {
    bytes: Vec<u8>,
    pub(super) text: Arc<Text>,
    /// The objects in effect, with the text that they were read from.
    pub(super) effective: Vec<Object>,
    pub(super) effective_text: Arc<Text>,
    /// The reports on the last version read.
    pub(super) reports: Vec<Report>,
    was_good: bool,
}

impl File {
    /// A new file.
    pub(super) fn new(path: &Path, bytes: Vec<u8>) -> Self {
        let text = Arc::new(Text::new(path.to_owned(), ""));
        let mut file = Self {
            bytes: Vec::new(),
            effective: Vec::new(),
            effective_text: Arc::clone(&text),
            text,
            reports: Vec::new(),
            was_good: false,
        };
        file.read(path, bytes);
        file
    }

    /// Reads this content; returns whether it is new.
    pub(super) fn update(&mut self, path: &Path, bytes: Vec<u8>) -> bool {
        let new = self.bytes != bytes;
        if new {
            self.read(path, bytes);
        }
        new
    }

    fn read(&mut self, path: &Path, bytes: Vec<u8>) {
        let (text, parsed) = parse(path, &bytes);
        let text = Arc::new(text);
        self.bytes = bytes;
        self.text = Arc::clone(&text);
        let failed = parsed.has_errors();
        let Parsed { objects, mut reports } = parsed;
        if failed {
            let message = effect(self.was_good, objects.len());
            reports.push(Report::new(&text, first(), Severity::Notice, message));
        }
        if !failed || !self.was_good {
            self.effective = objects;
            self.effective_text = text;
        }
        self.was_good |= !failed;
        self.reports = reports;
    }
}

/// The effect of a file's errors.
fn effect(was_good: bool, objects: usize) -> String {
    match objects {
        _ if was_good => "its last good version stays in effect".to_owned(),
        0 => "nothing of this file is in effect".to_owned(),
        1 => "always had errors: only its 1 good object is in effect".to_owned(),
        _ => format!("always had errors: only its {objects} good objects are in effect"),
    }
}

/// A notice about a whole file.
pub(super) fn notice(path: &Path, message: &str) -> Report {
    Report::new(&Text::new(path.to_owned(), ""), first(), Severity::Notice, message)
}

/// The first place of a file.
pub(super) fn first() -> Place {
    Place { line: 1, column: 1, start: 0, length: 0 }
}

/// The report that a file or folder can't be read.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Report {
    let text = Text::new(path.to_owned(), "");
    let message = format!("can't be read; the last version read stays in effect: {error}");
    Report::new(&text, first(), Severity::Error, message)
}

/// Parses the bytes of a file. Total: reports everything that is wrong with them.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> (Text, Parsed) {
    let fail = |text: Text, place: Place, message: String, help: Option<&str>| {
        let help = help.map(ToOwned::to_owned);
        let report = Report::new(&text, place, Severity::Error, message).help(help);
        (text, Parsed { objects: Vec::new(), reports: vec![report] })
    };
    let empty = || Text::new(path.to_owned(), "");
    if bytes.len() > MOST_BYTES {
        return fail(empty(), first(), format!("larger than {} MiB", MOST_BYTES >> 20), None);
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let source = match std::str::from_utf8(bytes) {
        Ok(source) => source,
        Err(error) => {
            let text = Text::new(path.to_owned(), &String::from_utf8_lossy(bytes));
            // Both texts are the same up to there.
            let place = text.place(error.valid_up_to(), 1);
            return fail(text, place, "not UTF-8 text".to_owned(), Some("save it as UTF-8"));
        }
    };
    let text = Text::new(path.to_owned(), source);
    let bad = source.char_indices().find(|&(_, it)| is_control(it));
    if let Some((at, it)) = bad {
        let message = format!("the control character U+{:04X} can't be in YAML", u32::from(it));
        let place = text.place(at, 1);
        return fail(text, place, message, None);
    }
    let (roots, reports) = yaml::read(&text);
    let mut parsed = document::read(&text, &roots);
    parsed.reports.extend(reports);
    parsed.reports.sort_by_key(|it| (it.line, it.column));
    (text, parsed)
}

fn is_control(it: char) -> bool {
    it.is_control() && !matches!(it, '\t' | '\n' | '\r' | '\u{85}')
}
