//! The documents' commands, and the examples of each task, have arguments that exist.

use std::fs;
use std::path::Path;
use std::process::Command;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use pulldown_cmark::{Event, Parser, Tag, TagEnd};

use super::Cli;

/// The commands in a document's code, one for each line of a block, and whether each is whole: in a sentence,
/// required arguments may be missing.
fn commands(document: &str) -> Vec<(String, bool)> {
    let (mut commands, mut is_block) = (Vec::new(), false);
    for event in Parser::new(document) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => is_block = true,
            Event::End(TagEnd::CodeBlock) => is_block = false,
            Event::Code(text) => commands.push((text.to_string(), false)),
            Event::Text(text) if is_block => {
                let whole = text.replace("\\\n", "");
                let lines = whole.lines().map(|it| it.trim_start_matches("$ ").to_owned());
                commands.extend(lines.map(|it| (it, true)));
            }
            _ => {}
        }
    }
    commands.retain(|(it, _)| it.starts_with("cargo xtask "));
    commands
}

/// The words of a command up to a comment, or to what the shell does with its output.
fn words(command: &str) -> Vec<&str> {
    let words = command.split_whitespace().skip(2);
    let words = words.take_while(|it| !it.starts_with('#') && !matches!(*it, "|" | ">" | "&&"));
    // `N` stands for a number.
    words.filter(|it| *it != "…").map(|it| if it == "N" { "1" } else { it }).collect()
}

fn mistake(command: &str, is_whole: bool) -> Option<String> {
    let words = words(command);
    // Without a task, or with its name only: no arguments to check.
    if matches!(words.first(), None | Some(&"help")) {
        return None;
    }
    let error = Cli::try_parse_from(["cargo xtask"].iter().chain(&words)).err()?;
    if !is_whole && error.kind() == ErrorKind::MissingRequiredArgument {
        return None;
    }
    Some(format!("{command}: {error}"))
}

#[test]
fn documented_commands_have_valid_arguments() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let known = Command::new("git").arg("-C").arg(&root).args(["ls-files", "*.md"]).output();
    let known = String::from_utf8(known.unwrap().stdout).unwrap();
    let mut seen = 0;
    let mut mistakes = Vec::new();
    // The changelog also names what was removed.
    for file in known.lines().filter(|it| *it != "CHANGELOG.md") {
        for (command, is_whole) in commands(&fs::read_to_string(root.join(file)).unwrap()) {
            seen += 1;
            mistakes.extend(mistake(&command, is_whole).map(|it| format!("{file}: {it}")));
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    assert!(seen > 40, "only {seen} commands were found");
}

#[test]
fn examples_have_valid_arguments() {
    for task in Cli::command().get_subcommands() {
        let help = task.get_after_help().map(ToString::to_string).unwrap_or_default();
        for example in help.lines().map(str::trim).filter(|it| it.starts_with("cargo xtask ")) {
            assert_eq!(mistake(example, true), None);
        }
    }
}

#[test]
fn a_wrong_argument_is_found() {
    let document = "`cargo xtask run --onse`\n\n```console\n$ cargo xtask image \\\n    --arch z80  # no\n```\n";
    let found = commands(document);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|(it, is_whole)| mistake(it, *is_whole).is_some()), "{found:?}");
    assert_eq!(mistake("cargo xtask soak --minutes N && true", true), None);
    let push = "cargo xtask image --push";
    assert!(mistake(push, true).is_some() && mistake(push, false).is_none());
}
