//! `enforcer cleanup`: removal of all enforcement from a node.

use std::io;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::format::Format;
use crate::kernel::{Removed, Trace, cleanup};

/// A removed item.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Line<'a> {
    Program { ifindex: u32, pin: &'a str },
    Qdisc { ifindex: u32 },
    Filters { interface: &'a str },
    Pins { folder: &'a Path },
}

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Program { ifindex, pin } => {
                write!(f, "the program of interface {ifindex} ({pin})")
            }
            Self::Qdisc { ifindex } => write!(f, "the clsact qdisc of interface {ifindex}"),
            Self::Filters { interface } => write!(f, "unrecorded filters of interface {interface}"),
            Self::Pins { folder } => write!(f, "{}", folder.display()),
        }
    }
}

/// Removes all enforcement and prints the removed items.
///
/// # Errors
/// An agent is running, something can't be removed, or writing fails.
pub fn run(pins: &Path, format: Format, out: &mut impl io::Write) -> anyhow::Result<()> {
    let removed = cleanup(pins).context("cannot clean up")?;
    print(&lines(&removed), format, out).context("cannot print the removed items")
}

fn lines(removed: &Removed) -> Vec<Line<'_>> {
    let traces = removed.traces.iter().map(|trace| match trace {
        Trace::Program { ifindex, pin } => Line::Program { ifindex: *ifindex, pin },
        Trace::Qdisc { ifindex } => Line::Qdisc { ifindex: *ifindex },
    });
    let filters = removed.filters.iter().map(|interface| Line::Filters { interface });
    let folder = removed.folder.iter().map(|folder| Line::Pins { folder });
    traces.chain(filters).chain(folder).collect()
}

fn print(lines: &[Line<'_>], format: Format, out: &mut impl io::Write) -> anyhow::Result<()> {
    match format {
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(lines)?)?,
        Format::Text if lines.is_empty() => writeln!(out, "nothing to remove")?,
        Format::Text => {
            for line in lines {
                writeln!(out, "removed {line}")?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removed() -> Removed {
        Removed {
            traces: vec![
                Trace::Program { ifindex: 7, pin: "7-in".to_owned() },
                Trace::Qdisc { ifindex: 7 },
            ],
            filters: vec!["eth0".to_owned()],
            folder: Some("/sys/fs/bpf/enforcer".into()),
        }
    }

    fn printed(removed: &Removed, format: Format) -> String {
        let mut out = Vec::new();
        print(&lines(removed), format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_has_a_line_for_each_item() {
        insta::assert_snapshot!(printed(&removed(), Format::Text), @"
        removed the program of interface 7 (7-in)
        removed the clsact qdisc of interface 7
        removed unrecorded filters of interface eth0
        removed /sys/fs/bpf/enforcer
        ");
        let nothing = printed(&Removed::default(), Format::Text);
        assert_eq!(nothing, "nothing to remove\n");
    }

    #[test]
    fn json_is_one_document() {
        let text = printed(&removed(), Format::Json);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value[0], serde_json::json!({"kind": "program", "ifindex": 7, "pin": "7-in"}));
        assert_eq!(value.as_array().map(Vec::len), Some(4));
        assert_eq!(printed(&Removed::default(), Format::Json), "[]\n");
    }
}
