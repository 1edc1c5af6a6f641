//! YAML text → trees.
//!
//! Each document is parsed by itself: a bad one does not hide the errors of the others.

use std::cell::Cell;
use std::collections::HashSet;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{
    DefaultMessageFormatter, DuplicateKeyPolicy, Error, Location, MergeKeyPolicy, MessageFormatter,
    NonFiniteFloatPolicy, Options,
};

use super::chunk::{self, Chunk, Refused};
use super::dialect::{self, Properties, Rewritten};
use super::json;
use super::report::Report;
use super::text::{Place, Text};
use super::tree::{Fault, Node};
use super::written::Source;
use crate::source::remark::Severity;

/// Keys and values that a file may have, aliases expanded: a few lines of aliases could otherwise
/// fill the memory.
const MOST_NODES: usize = 1_000_000;
/// Levels that a document may have: the readers of the tree recurse.
const MOST_LEVELS: usize = 100;
/// The stack of the parser. A level takes 5 KiB of it, and ten times as much without optimization:
/// more than other threads have.
const STACK: usize = 16 << 20;

/// A document that could be parsed.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) node: Node,
    /// Whether `kubectl` refuses it for its YAML.
    pub(super) failed: bool,
    /// The byte of the text that its locations count from.
    start: usize,
    properties: Arc<Properties>,
}

impl Root {
    /// The text that its locations are about.
    pub(super) fn source<'t>(&'t self, text: &'t Text) -> Source<'t> {
        let text = text.source.get(self.start..).unwrap_or_default();
        Source { text, properties: &self.properties }
    }

    pub(super) fn place(&self, text: &Text, location: &Location) -> Place {
        place(text, self.start, location)
    }

    fn report(&self, text: &Text, fault: Fault) -> Report {
        let error = Severity::Error;
        let (location, severity, message, help) = match fault {
            Fault::Duplicate { key, location, first } => {
                let line = self.place(text, &first).line;
                let message =
                    format!("the key `{key}` is already on line {line}; the last one counts");
                (location, Severity::Warning, message, Some("keep one of the two"))
            }
            Fault::Merge { location } => {
                let message = "`<<` needs a mapping, or a list of mappings";
                (location, error, message.to_owned(), None)
            }
            Fault::NoKey { location } => (location, error, "a key must be a word".to_owned(), None),
            Fault::Tag { location } => (
                location,
                error,
                "the value does not fit its tag".to_owned(),
                Some("remove the tag"),
            ),
            Fault::NotFinite { location } => {
                let message = "not a finite number: JSON does not have it";
                (location, error, message.to_owned(), Some("put quotes around it if it is text"))
            }
        };
        let place = self.place(text, &location);
        Report::new(text, place, severity, message).help(help.map(ToOwned::to_owned))
    }
}

/// Returns the documents of a text that can be parsed, and the YAML errors. Documents that `kubectl` ignores
/// are left out if `keep`.
pub(super) fn read(text: &Text, keep: bool) -> (Vec<Root>, Vec<Report>) {
    thread::scope(|scope| {
        let parser = thread::Builder::new().stack_size(STACK);
        match parser.spawn_scoped(scope, || parse(text, keep)) {
            Ok(parser) => parser.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => parse(text, keep),
        }
    })
}

fn parse(text: &Text, keep: bool) -> (Vec<Root>, Vec<Report>) {
    let mut parser = Parser {
        text,
        left: MOST_NODES,
        seen: HashSet::new(),
        roots: Vec::new(),
        reports: Vec::new(),
    };
    for chunk in chunk::chunks(&text.source) {
        parser.chunk(chunk, keep);
        if parser.left == 0 {
            break;
        }
    }
    (parser.roots, parser.reports)
}

struct Parser<'t> {
    text: &'t Text,
    /// Keys and values that may still come.
    left: usize,
    /// The reported faults: an alias repeats those of its mapping.
    seen: HashSet<(usize, usize, String)>,
    roots: Vec<Root>,
    reports: Vec<Report>,
}

impl<'t> Parser<'t> {
    /// Reads a document; `kubectl` ignores what follows a line `...` in it, and so this, if `keep`.
    fn chunk(&mut self, mut chunk: Chunk<'t>, keep: bool) {
        // The one at the start of the text is no longer there: there is no second one.
        if let Some(rest) = chunk.source.strip_prefix(BOM).filter(|_| chunk.start > 0) {
            chunk = Chunk { start: chunk.start + BOM.len_utf8(), source: rest, ..chunk };
        }
        if chunk.json {
            return self.part(chunk, dialect::rewrite_json(chunk.source));
        }
        for part in dialect::rewrite(chunk.source) {
            let end = part.end.filter(|_| part.more).map(|it| chunk.start + part.start + it);
            self.part(chunk, part);
            let Some(end) = end else { return };
            let message = "kubectl ignores what follows this line, up to the next `---`";
            let place = self.text.place(end, 3);
            let report = Report::new(self.text, place, Severity::Warning, message);
            self.reports.push(report.help(Some("write `---` instead".to_owned())));
            // A policy that `kubectl` does not read may still be meant to isolate (semantics R9).
            if keep || self.left == 0 {
                return;
            }
        }
    }

    /// Reads a part of a document.
    fn part(&mut self, chunk: Chunk<'t>, part: Rewritten) {
        let start = chunk.start + part.start;
        let source = chunk.source.get(part.start..part.start + part.text.len()).unwrap_or_default();
        let mut faults = part.faults;
        if let Some((message, help)) = chunk.refused.map(refusal) {
            faults.insert(0, dialect::Fault { at: 0, message, help });
        }
        self.dialect(start, &faults);
        let spent = Rc::new(Cell::new(0));
        let nodes =
            serde_saphyr::from_multiple_with_options(&part.text, options(self.left, &spent));
        let properties = Arc::new(part.properties);
        match nodes {
            // The first error explains the others.
            Err(_) if !faults.is_empty() => {}
            Err(error) => self.reports.push(report(self.text, start, source, &error)),
            Ok(nodes) => {
                let failed = !faults.is_empty();
                for node in nodes {
                    let properties = Arc::clone(&properties);
                    self.root(Root { node, failed, start, properties }, chunk);
                }
            }
        }
        self.left = self.left.saturating_sub(spent.get());
    }

    /// Reports what `kubectl` refuses.
    fn dialect(&mut self, start: usize, faults: &[dialect::Fault]) {
        for fault in faults {
            let place = self.text.place(start + fault.at, 1);
            let message = format!("{NOT_VALID}{}", fault.message);
            let report = Report::new(self.text, place, Severity::Error, message);
            self.reports.push(report.help(fault.help.map(ToOwned::to_owned)));
        }
    }

    fn root(&mut self, mut root: Root, chunk: Chunk<'_>) {
        let mut faults = Vec::new();
        let Root { node, start, properties, .. } = &mut root;
        let text = self.text.source.get(*start..).unwrap_or_default();
        node.settle(Source { text, properties }, &mut faults);
        let repeats = faults.iter().any(|it| matches!(it, Fault::Duplicate { .. }));
        if let Some(error) =
            Some(chunk).filter(|it| it.json).and_then(|it| json::refusal(it.source, repeats))
        {
            root.failed = true;
            let place = self.text.place(root.start + error.at, 1);
            self.reports.push(Report::new(self.text, place, Severity::Error, error.message));
        }
        for fault in faults {
            let report = root.report(self.text, fault);
            root.failed |= report.severity == Severity::Error;
            if self.seen.insert((report.line, report.column, report.message.clone())) {
                self.reports.push(report);
            }
        }
        self.roots.push(root);
    }
}

/// The byte order mark: it may begin a document.
const BOM: char = '\u{feff}';

/// Why `kubectl` does not read a document, and what to do about it.
fn refusal(refused: Refused) -> (&'static str, Option<&'static str>) {
    match refused {
        Refused::Crowded => {
            ("kubectl accepts nothing but a comment after `---`", Some("move it to the next line"))
        }
        Refused::AfterJson => (
            "after JSON values, kubectl reads nothing that is not JSON",
            Some("remove it, or begin the file with `---`"),
        ),
    }
}

/// How to read: as `kubectl` does, with at most `left` nodes. Notes how many there were.
fn options(left: usize, spent: &Rc<Cell<usize>>) -> Options {
    let spent = Rc::clone(spent);
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: left,
            max_depth: MOST_LEVELS,
            // These two bound everything else.
            max_events: usize::MAX,
            max_aliases: usize::MAX,
            max_anchors: usize::MAX,
            max_documents: usize::MAX,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: usize::MAX,
            max_replay_stack_depth: usize::MAX,
        },
        // Handled by the tree.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        legacy_octal_numbers: true,
        underscored_numbers_as_strings: false,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
    .with_budget_report(move |report| spent.set(report.nodes))
}

fn place(text: &Text, start: usize, location: &Location) -> Place {
    let span = location.span();
    let source = text.source.get(start..).unwrap_or_default();
    // Errors of the scanner have characters only.
    let byte = |characters: u64| {
        let characters = usize::try_from(characters).unwrap_or(usize::MAX);
        source.char_indices().nth(characters).map_or(source.len(), |(at, _)| at)
    };
    let from = span.byte_offset().map_or_else(|| byte(span.offset()), number);
    let length = span.byte_len().map_or_else(|| byte(span.offset() + span.len()) - from, number);
    text.place(start + from, length)
}

fn number(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn report(text: &Text, start: usize, source: &str, error: &Error) -> Report {
    let place = error.location().map_or_else(
        || text.place(start + source.len(), 0),
        |location| place(text, start, &location),
    );
    let message = message(error);
    let has_tab = |line: usize| {
        let line = text.line(line);
        line.get(..line.len() - line.trim_start().len()).unwrap_or_default().contains('\t')
    };
    let line = place.line - 1;
    let syntax = message.starts_with(NOT_VALID);
    let tab = syntax && (has_tab(line) || (line > 0 && has_tab(line - 1)));
    let json = Some(source).filter(|it| syntax && it.trim_start().starts_with('{'));
    let help = match json {
        _ if tab => Some("YAML indents with spaces, never with tabs".to_owned()),
        Some(json) => serde_json::from_str::<serde::de::IgnoredAny>(json)
            .err()
            .map(|error| format!("as JSON: {error}")),
        None => advice(&message).map(ToOwned::to_owned),
    };
    Report::new(text, place, Severity::Error, message).help(help)
}

/// What to do about an error of the YAML library.
fn advice(message: &str) -> Option<&'static str> {
    let advice = [
        (
            "mapping values are not allowed",
            "put quotes around a value with `: ` in it, or indent this line as those beside it",
        ),
        ("did not find expected key", "indent this line as the keys beside it"),
        ("did not find expected '-' indicator", "indent this line as the entries beside it"),
        ("unknown anchor", "put quotes around it if it is text"),
        ("simple key expected", "a key needs `:` and a blank after it"),
    ];
    advice.iter().find(|(part, _)| message.contains(part)).map(|(_, advice)| *advice)
}

const NOT_VALID: &str = "not valid YAML: ";

fn message(error: &Error) -> String {
    match error {
        Error::AliasError { error, .. } => message(error),
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => {
            format!("nested more than {MOST_LEVELS} levels deep")
        }
        Error::Budget { .. } => {
            format!("more than {MOST_NODES} keys and values, aliases expanded")
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "the alias is inside of its own anchor".to_owned()
        }
        Error::Unexpected { .. }
        | Error::NullIntoString { .. }
        | Error::TaggedScalarCannotDeserializeIntoString { .. } => {
            "a key must be a word".to_owned()
        }
        error => format!("{NOT_VALID}{}", DefaultMessageFormatter.format_message(error)),
    }
}
