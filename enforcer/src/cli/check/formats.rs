//! The findings for programs.

use std::io;

use serde::Serialize;
use serde_json::{Value, json};

use crate::check::Findings;
use crate::lint;
use crate::source::Severity;
use crate::source::manifests::Report;

/// The version of the JSON objects, as in `docs/json.md`.
const VERSION: u32 = 1;
/// The rule of findings that are no lint's, in SARIF.
const MISTAKE: &str = "mistake";

#[derive(Serialize)]
struct Line<'a, T> {
    version: u32,
    kind: &'a str,
    #[serde(flatten)]
    content: &'a T,
}

/// One object per line: the findings, then the summary.
pub(super) fn json(findings: &Findings, out: &mut impl io::Write) -> anyhow::Result<()> {
    for report in &findings.reports {
        let line = Line { version: VERSION, kind: "finding", content: report };
        writeln!(out, "{}", serde_json::to_string(&line)?)?;
    }
    let line = Line { version: VERSION, kind: "summary", content: &findings.summary };
    Ok(writeln!(out, "{}", serde_json::to_string(&line)?)?)
}

/// The message, what to do, and how to write it instead.
fn message(report: &Report) -> String {
    let mut text = match report.path.as_str() {
        "" => report.message.clone(),
        path => format!("{path}: {}", report.message),
    };
    if let Some(help) = &report.help {
        text += &format!(" ({help})");
    }
    if let Some(snippet) = &report.snippet {
        text += &format!("\nwrite:\n{snippet}");
    }
    text
}

/// The commands of GitHub Actions (`actions/toolkit`, `packages/core/src/command.ts`).
pub(super) fn github(findings: &Findings, out: &mut impl io::Write) -> anyhow::Result<()> {
    let data = |it: &str| it.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |it: &str| data(it).replace(':', "%3A").replace(',', "%2C");
    for report in &findings.reports {
        let command = match report.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Notice => "notice",
        };
        let file = property(&report.file.display().to_string());
        let title = property(report.lint.unwrap_or("enforcer check"));
        let (line, column) = (report.line, report.column);
        let text = data(&message(report));
        writeln!(out, "::{command} file={file},line={line},col={column},title={title}::{text}")?;
    }
    Ok(())
}

/// A SARIF document (OASIS, "Static Analysis Results Interchange Format", version 2.1.0).
pub(super) fn sarif(findings: &Findings, out: &mut impl io::Write) -> anyhow::Result<()> {
    let names: Vec<&str> = std::iter::once(MISTAKE).chain(lint::NAMES).collect();
    let rules: Vec<Value> = names.iter().map(|it| rule(it)).collect();
    let results: Vec<Value> = findings.reports.iter().map(|it| result(it, &names)).collect();
    let driver = json!({
        "name": "enforcer",
        "version": env!("CARGO_PKG_VERSION"),
        "rules": rules,
    });
    let run = json!({
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": results,
    });
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    });
    Ok(writeln!(out, "{}", serde_json::to_string_pretty(&document)?)?)
}

fn rule(name: &str) -> Value {
    match lint::explanation(name) {
        Some(text) => json!({"id": name, "help": {"text": text, "markdown": text}}),
        None => json!({"id": name, "shortDescription": {"text": "a mistake in a manifest"}}),
    }
}

fn result(report: &Report, names: &[&str]) -> Value {
    let level = match report.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Notice => "note",
    };
    let rule = report.lint.unwrap_or(MISTAKE);
    let place = json!({
        "artifactLocation": {"uri": uri(&report.file.display().to_string())},
        "region": {"startLine": report.line, "startColumn": report.column},
    });
    json!({
        "ruleId": rule,
        "ruleIndex": names.iter().position(|it| *it == rule),
        "level": level,
        "message": {"text": message(report)},
        "locations": [{"physicalLocation": place}],
    })
}

/// A path as the reference of a URI (RFC 3986).
fn uri(path: &str) -> String {
    let plain = |it: u8| it.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=@".contains(&it);
    let mut text = String::new();
    for byte in path.bytes() {
        if plain(byte) {
            text.push(char::from(byte));
        } else {
            text += &format!("%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_references() {
        assert_eq!(uri("a b/c:\u{e4}.yaml"), "a%20b/c%3A%C3%A4.yaml");
    }
}
