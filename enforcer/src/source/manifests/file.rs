//! A file: its bytes → what it says, and which of its states is in effect.

use std::path::Path;
use std::sync::Arc;

use super::document::{self, Object, Parsed};
use super::report::Report;
use super::text::{Place, Text};
use super::yaml;
use crate::source::remark::Severity;

/// Bytes a file may have.
const MOST_BYTES: usize = 16 << 20;

/// A file that was read.
#[derive(Debug)]
pub(super) struct File {
    bytes: Vec<u8>,
    pub(super) text: Arc<Text>,
    /// What is in effect, with the text it was read from.
    pub(super) effective: Vec<Object>,
    pub(super) effective_text: Arc<Text>,
    /// The remarks on what was last read.
    pub(super) reports: Vec<Report>,
    was_good: bool,
}

impl File {
    /// A file that is seen for the first time.
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

    /// Takes over new content; whether it is new.
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

/// What follows from a file's errors.
fn effect(was_good: bool, objects: usize) -> String {
    match objects {
        _ if was_good => "its last good version stays in effect".to_owned(),
        0 => "nothing of this file is in effect".to_owned(),
        1 => "never was without errors: only its 1 good object is in effect".to_owned(),
        _ => format!("never was without errors: only its {objects} good objects are in effect"),
    }
}

/// Something to know about a whole file.
pub(super) fn notice(path: &Path, message: &str) -> Report {
    Report::new(&Text::new(path.to_owned(), ""), first(), Severity::Notice, message)
}

/// The file's first place.
pub(super) fn first() -> Place {
    Place { line: 1, column: 1, start: 0, length: 0 }
}

/// Tells that a file or folder can't be read.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Report {
    let text = Text::new(path.to_owned(), "");
    let message = format!("can't be read, what was read last stays in effect: {error}");
    Report::new(&text, first(), Severity::Error, message)
}

/// Reads a file's bytes. Total: whatever they are, there is an answer.
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
            // Up to there both are the same.
            let place = text.place_of(error.valid_up_to());
            return fail(text, place, "not UTF-8 text".to_owned(), Some("save it as UTF-8"));
        }
    };
    let text = Text::new(path.to_owned(), source);
    let bad = source.char_indices().find(|&(_, it)| is_control(it));
    if let Some((at, it)) = bad {
        let message = format!("the control character U+{:04X} can't be in YAML", u32::from(it));
        let place = text.place_of(at);
        return fail(text, place, message, None);
    }
    let documents = yaml::read(&text);
    let mut parsed = document::read(&text, &documents.roots);
    for fault in documents.faults {
        let report = Report::new(&text, fault.place, Severity::Error, fault.message);
        parsed.reports.push(report.help(fault.help));
    }
    parsed.reports.sort_by_key(|it| (it.line, it.column));
    (text, parsed)
}

fn is_control(it: char) -> bool {
    it.is_control() && !matches!(it, '\t' | '\n' | '\r' | '\u{85}')
}
