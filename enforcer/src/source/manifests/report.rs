//! Reports on manifests.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use serde::{Serialize, Serializer};

use super::text::{Place, Text};
use crate::source::remark::Severity;

/// Bytes of a line that an excerpt may show.
const LONGEST_EXCERPT: usize = 400;

/// What a report on a template says.
pub(super) const TEMPLATE: &str = "a template, not a manifest";

/// A remark on a place in a file.
#[derive(Debug, Clone)]
pub struct Report {
    /// The file.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// The field, e.g. `spec.ingress[0].ports[1].port`; empty if it is about the whole file.
    pub path: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The name of the lint that found it, if it is no plain mistake.
    pub lint: Option<&'static str>,
    /// How to write it instead.
    pub snippet: Option<String>,
    /// Whether the API server refuses what takes effect as it is meant.
    pub(super) refused: bool,
    /// The byte range in the file's text.
    span: (usize, usize),
    source: NamedSource<Arc<str>>,
}

impl Report {
    /// A remark on a place in a text.
    pub(super) fn new(
        text: &Text,
        place: Place,
        severity: Severity,
        message: impl Into<String>,
    ) -> Self {
        Self {
            file: text.file.clone(),
            line: place.line,
            column: place.column,
            path: String::new(),
            severity,
            message: message.into(),
            help: None,
            lint: None,
            snippet: None,
            refused: false,
            span: (place.start, place.length),
            source: NamedSource::new(text.file.display().to_string(), Arc::clone(&text.source)),
        }
    }

    /// The same for a terminal, where the excerpt shows what the one-line form spells out.
    pub fn excerpt(&self) -> impl Diagnostic + '_ {
        Excerpt(self)
    }

    /// Whether it says that the file is a template.
    #[must_use]
    pub fn is_about_template(&self) -> bool {
        self.message.starts_with(TEMPLATE)
    }

    /// The same for a new object: what the API server refuses is an error.
    pub(super) fn for_new_object(mut self) -> Self {
        if self.refused {
            self.severity = Severity::Error;
        }
        self
    }

    /// Names the field.
    pub(super) fn at(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Whether its line is so long that no excerpt of it can be read.
    #[must_use]
    pub fn is_beyond_excerpts(&self) -> bool {
        let (start, _) = self.span;
        let rest = self.source.inner().as_bytes().get(start..).unwrap_or_default();
        let ends = rest.iter().take(LONGEST_EXCERPT).any(|it| *it == b'\n');
        self.column > LONGEST_EXCERPT || (rest.len() > LONGEST_EXCERPT && !ends)
    }

    /// Adds what to do about it.
    pub(super) fn help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }
}

impl PartialEq for Report {
    /// Equal if they read the same; the excerpt is ignored.
    fn eq(&self, other: &Self) -> bool {
        let key = |it: &Self| (it.line, it.column, it.severity, it.span);
        key(self) == key(other)
            && self.file == other.file
            && self.path == other.path
            && self.message == other.message
            && self.help == other.help
    }
}

impl Eq for Report {}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, severity, message, .. } = self;
        let mut text = format!("{}:{line}:{column}: {severity}: ", file.display());
        if !self.path.is_empty() {
            text += &format!("{}: ", self.path);
        }
        text += message;
        if let Some(lint) = self.lint {
            text += &format!(" [{lint}]");
        }
        if let Some(help) = &self.help {
            text += &format!(" ({help})");
        }
        f.write_str(&one_line(&text))
    }
}

/// The text without control characters: text from a file may contain line breaks, and must not
/// look like separate lines of a log.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for it in text.chars() {
        if it.is_control() { line.extend(it.escape_default()) } else { line.push(it) }
    }
    line
}

/// A report whose text is only the message.
#[derive(Debug)]
struct Excerpt<'r>(&'r Report);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&self.0.message))
    }
}

impl std::error::Error for Excerpt<'_> {}

impl Diagnostic for Excerpt<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.0.severity {
            Severity::Notice => miette::Severity::Advice,
            Severity::Warning => miette::Severity::Warning,
            Severity::Error => miette::Severity::Error,
        })
    }

    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0.lint.map(|it| Box::new(it) as Box<dyn fmt::Display>)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let snippet = self.0.snippet.as_ref().map(|it| format!("write:\n{it}"));
        let parts: Vec<_> = self.0.help.iter().cloned().chain(snippet).collect();
        (!parts.is_empty()).then(|| Box::new(parts.join("\n")) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.0.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (start, length) = self.0.span;
        let label = if self.0.path.is_empty() { "here" } else { &self.0.path };
        let span = LabeledSpan::new(Some(label.to_owned()), start, length);
        Some(Box::new(std::iter::once(span)))
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Plain<'a> {
            file: String,
            line: usize,
            column: usize,
            path: &'a str,
            severity: Severity,
            message: &'a str,
            help: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            lint: Option<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            snippet: Option<&'a str>,
        }
        Plain {
            // A name that isn't UTF-8 must not make the whole output fail.
            file: self.file.display().to_string(),
            line: self.line,
            column: self.column,
            path: &self.path,
            severity: self.severity,
            message: &self.message,
            help: self.help.as_deref(),
            lint: self.lint,
            snippet: self.snippet.as_deref(),
        }
        .serialize(serializer)
    }
}
