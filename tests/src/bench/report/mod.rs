//! The report: the JSON document and a page with plots that needs nothing else.

mod chart;
mod page;
mod sections;
mod table;

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::document::{Document, VERSION};

/// The document's file in the report's folder.
const JSON: &str = "report.json";
/// The page's.
const PAGE: &str = "report.html";

/// Writes the document and the page.
///
/// # Errors
/// A file can't be written.
pub(super) fn write(folder: &Path, document: &Document) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(document)? + "\n";
    put(&folder.join(JSON), &json)?;
    put(&folder.join(PAGE), &page::render(document))
}

/// Writes the page of an earlier document again.
///
/// # Errors
/// There is none, or it has another version.
pub(super) fn render(folder: &Path) -> anyhow::Result<()> {
    let path = folder.join(JSON);
    let what = || format!("read {}", path.display());
    let text = fs::read_to_string(&path).with_context(what)?;
    let document: Document = serde_json::from_str(&text).with_context(what)?;
    anyhow::ensure!(document.version == VERSION, "{}: another version", path.display());
    put(&folder.join(PAGE), &page::render(&document))
}

fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests;
