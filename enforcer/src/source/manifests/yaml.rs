//! YAML text → trees.
//!
//! After an error, reading goes on at the next `---`: one bad document doesn't hide what is wrong
//! with the others.

use saphyr_parser::{Marker, Parser, Span};

use super::build::Builder;
use super::text::{Place, Text};
use super::tree::Node;

/// What is wrong with the YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) place: Place,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Fault {
    pub(super) fn new(place: Place, message: impl Into<String>, help: &str) -> Self {
        let help = (!help.is_empty()).then(|| help.to_owned());
        Self { place, message: message.into(), help }
    }
}

/// Documents without faults, and the faults of the others.
#[derive(Debug, Default)]
pub(super) struct Documents {
    pub(super) roots: Vec<Node>,
    pub(super) faults: Vec<Fault>,
}

/// Reads every document of a text.
pub(super) fn read(text: &Text) -> Documents {
    let mut found = Documents::default();
    let mut budget = super::build::MOST_NODES;
    let mut from = Some(0);
    while let Some(line) = from {
        from = read_from(text, line, &mut budget, &mut found);
    }
    found
}

/// Reads from a line on; after an error returns the line to go on from.
fn read_from(
    text: &Text,
    first: usize,
    budget: &mut usize,
    found: &mut Documents,
) -> Option<usize> {
    let source = text.source.get(text.line_start(first)..)?;
    let mut builder = Builder::new(*budget);
    let mut parser = Parser::new_from_str(source);
    let fault = loop {
        match parser.next_event() {
            None => break None,
            Some(Ok((event, span))) => {
                if let Err(fault) = builder.event(event, place(text, first, &span)) {
                    break Some(fault);
                }
            }
            Some(Err(error)) => break Some(syntax(text, first, error.marker(), error.info())),
        }
    };
    *budget = builder.budget();
    builder.finish(fault.is_none(), found);
    let fault = fault?;
    let line = fault.place.line - 1;
    if !found.faults.contains(&fault) {
        found.faults.push(fault);
    }
    if *budget == 0 {
        return None;
    }
    (line.max(first + 1)..text.lines()).find(|&it| starts_document(text.line(it)))
}

fn starts_document(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
}

fn spot(first: usize, marker: &Marker) -> (usize, usize) {
    (first + marker.line().saturating_sub(1), marker.col())
}

fn place(text: &Text, first: usize, span: &Span) -> Place {
    text.place(spot(first, &span.start), spot(first, &span.end))
}

fn syntax(text: &Text, first: usize, marker: &Marker, info: &str) -> Fault {
    let (line, column) = spot(first, marker);
    let line = line.min(text.lines().saturating_sub(1));
    let place = text.place((line, column), (line, column + 1));
    let indent = |line: usize| {
        let text = text.line(line);
        text.get(..text.len() - text.trim_start().len()).unwrap_or_default().contains('\t')
    };
    let tab = indent(line) || (line > first && indent(line - 1));
    let help = if tab { "YAML indents with spaces, never with tabs" } else { "" };
    Fault::new(place, format!("not valid YAML: {info}"), help)
}
