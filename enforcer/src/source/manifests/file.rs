//! A file: its bytes → its objects, and which version of it is in effect.

use std::path::Path;
use std::sync::Arc;

use super::document::{self, Parsed};
use super::object::Object;
use super::report::Report;
use super::template;
use super::text::{Place, Text};
use super::yaml;
use super::yaml::Root;
use crate::source::remark::Severity;

/// The number of bytes that a file may have.
pub(super) const MOST_BYTES: usize = 16 << 20;

/// A file that was read.
#[derive(Debug)]
pub(super) struct File {
    bytes: Vec<u8>,
    pub(super) text: Arc<Text>,
    /// The objects in effect.
    pub(super) effective: Vec<Held>,
    /// The reports on the last version read.
    pub(super) reports: Vec<Report>,
    was_good: bool,
}

/// An object in effect.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) object: Object,
    /// The text that it was read from.
    pub(super) text: Arc<Text>,
    /// Whether it stands for a policy that never was without errors.
    closed: bool,
}

impl File {
    /// A new file.
    pub(super) fn new(path: &Path, bytes: Vec<u8>) -> Self {
        let text = Arc::new(Text::new(path.to_owned(), ""));
        let mut file = Self {
            bytes: Vec::new(),
            effective: Vec::new(),
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
        let Parsed { objects, closed, mut reports, .. } = parsed;
        let hold = |closed| {
            let text = Arc::clone(&text);
            move |object| Held { object, text: Arc::clone(&text), closed }
        };
        let good = objects.into_iter().map(hold(false));
        let before = std::mem::take(&mut self.effective);
        self.effective = if !failed {
            good.collect()
        } else if self.was_good {
            after_good(before, good.chain(closed.into_iter().map(hold(true))))
        } else {
            let closed = closed.into_iter().map(hold(true));
            good.chain(closed.map(|it| last_good(&before, it))).collect()
        };
        if failed {
            let message = effect(self.was_good, &self.effective);
            reports.push(Report::new(&text, first(), Severity::Notice, message));
        }
        self.was_good |= !failed;
        self.reports = reports;
    }
}

/// The last good version of a file, and the policies that only its present version with errors has: a
/// policy that is new isolates what it selects, whatever is wrong elsewhere (semantics R9).
fn after_good(before: Vec<Held>, now: impl Iterator<Item = Held>) -> Vec<Held> {
    let (mut kept, fallbacks): (Vec<_>, Vec<_>) = before.into_iter().partition(|it| !it.closed);
    drop(fallbacks);
    let is_new = |it: &Held| {
        let known = kept.iter().any(|old| old.object.key() == it.object.key());
        it.object.kind == "NetworkPolicy" && !known
    };
    let new: Vec<_> = now.filter(is_new).collect();
    kept.extend(new);
    kept
}

/// The stand-in for a policy, or its last good version if there is one.
fn last_good(before: &[Held], stand_in: Held) -> Held {
    let good = before.iter().find(|it| !it.closed && it.object.key() == stand_in.object.key());
    good.cloned().unwrap_or(stand_in)
}

/// The effect of a file's errors.
fn effect(was_good: bool, effective: &[Held]) -> String {
    let closed = effective.iter().filter(|it| it.closed).count();
    let good = match effective.len() - closed {
        _ if was_good => "its last good version stays in effect".to_owned(),
        0 if closed == 0 => "nothing of this file is in effect".to_owned(),
        0 => "always had errors".to_owned(),
        1 => "always had errors: only its 1 good object is in effect".to_owned(),
        good => format!("always had errors: only its {good} good objects are in effect"),
    };
    match closed {
        0 => good,
        1 => format!(
            "{good}; 1 policy with errors isolates the pods that it selects and allows nothing"
        ),
        _ => format!(
            "{good}; {closed} policies with errors isolate the pods that they select and allow nothing"
        ),
    }
}

/// A notice about a whole file.
pub(super) fn notice(path: &Path, message: &str) -> Report {
    remark(path, Severity::Notice, message)
}

/// A report on a whole file or folder.
#[must_use]
pub fn remark(path: &Path, severity: Severity, message: &str) -> Report {
    Report::new(&Text::new(path.to_owned(), ""), first(), severity, message)
}

/// The first place of a file.
pub(super) fn first() -> Place {
    Place { line: 1, column: 1, start: 0, length: 0 }
}

/// The report that a file or folder can't be read.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Report {
    let message = format!("can't be read; the last version read stays in effect: {error}");
    remark(path, Severity::Error, &message)
}

/// Parses the bytes of a file. Total: reports everything that is wrong with them.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> (Text, Parsed) {
    let (text, _, parsed) = analyse(path, bytes, false);
    (text, parsed)
}

/// Like [`parse`]; also returns the documents, and their declarations if `keep`.
pub(super) fn analyse(path: &Path, bytes: &[u8], keep: bool) -> (Text, Vec<Root>, Parsed) {
    let fail = |text: Text, place: Place, message: String, help: Option<&str>| {
        let help = help.map(ToOwned::to_owned);
        let report = Report::new(&text, place, Severity::Error, message).help(help);
        (text, Vec::new(), Parsed { reports: vec![report], ..Parsed::default() })
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
    let (roots, reports) = yaml::read(&text, keep);
    let mut parsed = document::read(&text, &roots, keep);
    parsed.reports.extend(reports);
    parsed.reports.sort_by_key(|it| (it.line, it.column));
    if let Some(report) = template::report(&text, &parsed.reports) {
        parsed.reports = vec![report];
    }
    (text, roots, parsed)
}

fn is_control(it: char) -> bool {
    it.is_control() && !matches!(it, '\t' | '\n' | '\r' | '\u{85}')
}
