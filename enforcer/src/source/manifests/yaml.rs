//! YAML text → trees.
//!
//! Each document is parsed by itself: a bad one does not hide the errors of the others.

use std::cell::Cell;
use std::collections::HashSet;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::thread;

use serde::de::IgnoredAny;
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{
    DefaultMessageFormatter, DuplicateKeyPolicy, Error, Location, MergeKeyPolicy, MessageFormatter,
    NonFiniteFloatPolicy, Options,
};

use super::report::Report;
use super::text::{Place, Text};
use super::tree::{Fault, Node};
use crate::source::remark::Severity;

/// Keys and values that a file may have, aliases expanded: a few lines of aliases could otherwise
/// fill the memory.
const MOST_NODES: usize = 1_000_000;
/// Levels that a document may have: the readers of the tree recurse.
const MOST_LEVELS: usize = 100;
/// The stack of the parser. A level takes 5 KiB of it, and ten times as much without optimization:
/// more than other threads have.
const STACK: usize = 16 << 20;

/// A document without YAML errors.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) node: Node,
    /// The byte of the text that its locations count from.
    start: usize,
}

impl Root {
    /// The text that its locations are about.
    pub(super) fn source<'t>(&self, text: &'t Text) -> &'t str {
        text.source.get(self.start..).unwrap_or_default()
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
            Fault::NotFinite { location } => {
                let message = "not a finite number: JSON does not have it";
                (location, error, message.to_owned(), Some("put quotes around it if it is text"))
            }
        };
        let place = self.place(text, &location);
        Report::new(text, place, severity, message).help(help.map(ToOwned::to_owned))
    }
}

/// Returns the documents of a text that have no YAML errors, and the errors of the others.
pub(super) fn read(text: &Text) -> (Vec<Root>, Vec<Report>) {
    thread::scope(|scope| {
        let parser = thread::Builder::new().stack_size(STACK);
        match parser.spawn_scoped(scope, || parse(text)) {
            Ok(parser) => parser.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => parse(text),
        }
    })
}

fn parse(text: &Text) -> (Vec<Root>, Vec<Report>) {
    let (mut roots, mut reports) = (Vec::new(), Vec::new());
    let mut left = MOST_NODES;
    // An alias repeats the faults of its mapping.
    let mut seen = HashSet::new();
    let starts = starts(text);
    let ends = starts.iter().copied().skip(1).chain([text.source.len()]);
    for (&start, end) in starts.iter().zip(ends) {
        let source = text.source.get(start..end).unwrap_or_default();
        reports.extend(directive(text, start, source));
        let spent = Rc::new(Cell::new(0));
        let nodes = serde_saphyr::from_multiple_with_options(source, options(left, &spent));
        match nodes {
            Err(error) => reports.push(report(text, start, source, &error)),
            Ok(nodes) => {
                for node in nodes {
                    let (mut root, mut faults) = (Root { node, start }, Vec::new());
                    root.node.settle(source, &mut faults);
                    let mut is_good = true;
                    for fault in faults {
                        let report = root.report(text, fault);
                        is_good &= report.severity != Severity::Error;
                        if seen.insert((report.line, report.column, report.message.clone())) {
                            reports.push(report);
                        }
                    }
                    if is_good {
                        roots.push(root);
                    }
                }
            }
        }
        left = left.saturating_sub(spent.get());
        if left == 0 {
            break;
        }
    }
    (roots, reports)
}

/// An error about a directive. `kubectl` splits a file at its `---` lines, so what is before one is a document
/// of its own, and a directive alone is none (`NewYAMLReader` in
/// `staging/src/k8s.io/apimachinery/pkg/util/yaml/decoder.go`).
fn directive(text: &Text, start: usize, source: &str) -> Option<Report> {
    let line = source.lines().next().filter(|it| it.starts_with('%'))?;
    let place = text.place(start, line.len());
    let message = "kubectl reads no YAML directives";
    let report = Report::new(text, place, Severity::Error, message);
    Some(report.help(Some("remove this line".to_owned())))
}

/// The byte offset of each document: of its `---`, or of the directives before. Such a line is
/// never content.
fn starts(text: &Text) -> Vec<usize> {
    if let Some(starts) = values(&text.source) {
        return starts;
    }
    let mut after_directive = false;
    let begins = |&(start, line): &(usize, &str)| {
        let is_directive = line.starts_with('%');
        let is_marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        let inside = std::mem::replace(&mut after_directive, is_directive);
        start == 0 || ((is_directive || is_marker) && !inside)
    };
    text.lines().filter(begins).map(|(start, _)| start).collect()
}

/// The byte offset of each value of a text that is a stream of JSON values, as `jq` prints it and `kubectl`
/// reads it (`YAMLOrJSONDecoder` in `staging/src/k8s.io/apimachinery/pkg/util/yaml/decoder.go`). `None`: it is no
/// such stream, or has only one value.
fn values(source: &str) -> Option<Vec<usize>> {
    let mut stream = source
        .trim_start()
        .starts_with('{')
        .then(|| serde_json::Deserializer::from_str(source).into_iter::<IgnoredAny>())?;
    let mut starts = vec![0];
    while let Some(value) = stream.next() {
        value.ok()?;
        starts.push(stream.byte_offset());
    }
    starts.pop();
    (starts.len() > 1).then_some(starts)
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
    let help = tab.then(|| "YAML indents with spaces, never with tabs".to_owned());
    Report::new(text, place, Severity::Error, message).help(help)
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
