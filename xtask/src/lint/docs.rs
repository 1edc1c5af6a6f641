//! The documents: every link has a target, and every source file that they name exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use pulldown_cmark::{Event, Parser, Tag, TagEnd};

use crate::process;

/// A document's references, and its own anchors.
#[derive(Debug, Default)]
struct Document {
    /// Anchors of its headings.
    anchors: BTreeSet<String>,
    /// Its links with their lines.
    links: Vec<(usize, String)>,
    /// Source files that it names in code, with their lines.
    sources: Vec<(usize, String)>,
}

/// Reads every document that git knows and returns one line for each mistake.
///
/// # Errors
/// Git fails, or a document can't be read.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let mut command = Command::new("git");
    command.arg("-C").arg(root).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let known = process::output_of(&mut command)?;
    // Git still lists files that have just been deleted.
    let files: Vec<PathBuf> =
        known.lines().map(PathBuf::from).filter(|it| root.join(it).exists()).collect();
    let mut mistakes = Vec::new();
    for file in files.iter().filter(|it| it.extension().is_some_and(|it| it == "md")) {
        let document = read(&root.join(file))?;
        let mut report = |line: usize, what: String| {
            mistakes.push(format!("{}:{line}: {what}", file.display()));
        };
        for (line, link) in &document.links {
            if let Some(what) = broken(root, file, &document, link)? {
                report(*line, what);
            }
        }
        for (line, source) in &document.sources {
            if !files.iter().any(|it| it.ends_with(source)) {
                report(*line, format!("the source file {source} doesn't exist"));
            }
        }
    }
    Ok(mistakes)
}

/// The mistake in a link, if there is one. Links to other sites are not checked.
fn broken(root: &Path, file: &Path, document: &Document, link: &str) -> Result<Option<String>> {
    if link.contains("://") || link.starts_with("mailto:") {
        return Ok(None);
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(it, to)| (it, Some(to)));
    let target = root.join(file.parent().unwrap_or(Path::new(""))).join(path);
    if !path.is_empty() && !target.exists() {
        return Ok(Some(format!("the link {link} has no file")));
    }
    let Some(anchor) = anchor else { return Ok(None) };
    let has_it = if path.is_empty() {
        document.anchors.contains(anchor)
    } else {
        read(&target)?.anchors.contains(anchor)
    };
    Ok((!has_it).then(|| format!("the link {link} has no heading")))
}

fn read(path: &Path) -> Result<Document> {
    let text =
        fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    Ok(parse(&text))
}

fn parse(text: &str) -> Document {
    let mut document = Document::default();
    let mut heading: Option<String> = None;
    for (event, place) in Parser::new(text).into_offset_iter() {
        let line = text.get(..place.start).map_or(0, |it| it.matches('\n').count()) + 1;
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                document.anchors.extend(heading.take().map(|it| anchor(&it)));
            }
            Event::Start(Tag::Link { dest_url, .. }) => {
                document.links.push((line, dest_url.into_string()));
            }
            Event::Text(text) => heading.iter_mut().for_each(|it| it.push_str(&text)),
            Event::Code(code) => {
                heading.iter_mut().for_each(|it| it.push_str(&code));
                if is_source(&code) {
                    document.sources.push((line, code.into_string()));
                }
            }
            _ => {}
        }
    }
    document
}

/// Whether code in a text is the path of a Rust file and not a pattern.
fn is_source(code: &str) -> bool {
    let is_part = |it: char| it.is_ascii_alphanumeric() || "_-./".contains(it);
    code.strip_suffix(".rs").is_some_and(|name| name.contains('/') && name.chars().all(is_part))
}

/// A heading's anchor, as GitHub makes it: lower case, blanks as hyphens, no other punctuation.
fn anchor(heading: &str) -> String {
    let kept = |it: &char| it.is_alphanumeric() || "-_ ".contains(*it);
    heading
        .trim()
        .to_lowercase()
        .chars()
        .filter(kept)
        .map(|it| if it == ' ' { '-' } else { it })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_become_anchors() {
        assert_eq!(anchor("What it can't do yet"), "what-it-cant-do-yet");
        assert_eq!(anchor("AKS, step by step"), "aks-step-by-step");
        let document = parse("# One `two` three\n\nText.\n\n## Four\n");
        assert_eq!(document.anchors, ["four", "one-two-three"].map(str::to_owned).into());
    }

    #[test]
    fn links_and_sources_are_found_with_their_lines() {
        let document =
            parse("# A\n\nSee [there](b.md#c).\n\n`x/y.rs`, `x.rs`, `x/*.rs`, `cargo`\n");
        assert_eq!(document.links, [(3, "b.md#c".to_owned())]);
        assert_eq!(document.sources, [(5, "x/y.rs".to_owned())]);
    }

    #[test]
    fn links_without_a_target_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b.md"), "# Here\n").unwrap();
        let document = parse("# Own\n");
        let reported = |link| broken(folder.path(), Path::new("a.md"), &document, link).unwrap();
        for good in ["b.md", "b.md#here", "#own", "https://example.org/c.md"] {
            assert_eq!(reported(good), None, "{good}");
        }
        for bad in ["c.md", "b.md#there", "#other"] {
            assert!(reported(bad).is_some_and(|it| it.contains(bad)), "{bad}");
        }
    }
}
