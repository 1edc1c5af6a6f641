//! The test programs that cargo has built, from its JSON messages.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::process;
use crate::ui::Step;

/// A test program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Executable {
    /// The package it belongs to.
    pub(crate) package: String,
    /// The target's name: the crate's, or the integration test's.
    pub(crate) target: String,
    /// What kind of target: `lib`, `bin`, `test`.
    pub(crate) kind: String,
    /// The package's folder, where cargo runs its tests.
    pub(crate) folder: PathBuf,
    /// The program.
    pub(crate) path: PathBuf,
}

impl Executable {
    /// How progress names it: `enforcer (lib)`, `enforcer-tests: scenarios`.
    pub(crate) fn name(&self) -> String {
        if self.kind == "test" {
            format!("{}: {}", self.package, self.target)
        } else {
            format!("{} ({})", self.package, self.kind)
        }
    }
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    target: Option<Target>,
    #[serde(default)]
    profile: Option<Profile>,
    #[serde(default)]
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Has cargo build test programs, and nothing run: the command is one that builds.
///
/// # Errors
/// They don't build; the error quotes all that the compiler said.
pub(crate) fn build(command: &mut Command, step: &Step) -> Result<Vec<Executable>> {
    command.arg("--message-format=json-render-diagnostics");
    let is_message = |line: &str| line.starts_with('{');
    let seen = |line: &str| {
        if !is_message(line) {
            step.detail(line);
        }
    };
    let (status, lines) = process::collect_with(command, seen, None)?;
    if !status.success() {
        let said: Vec<_> = lines.into_iter().filter(|line| !is_message(line)).collect();
        bail!("the tests don't build\n{}", said.join("\n"));
    }
    Ok(parse(lines.iter().map(String::as_str)))
}

/// Reads the test programs out of cargo's messages, of which each is a line of JSON.
fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Executable> {
    lines.filter_map(message).filter_map(executable).collect()
}

fn message(line: &str) -> Option<Message> {
    // Whatever else cargo prints is none of these.
    serde_json::from_str(line).ok()
}

fn executable(message: Message) -> Option<Executable> {
    if message.reason != "compiler-artifact" || !message.profile?.test {
        return None;
    }
    let (target, path) = (message.target?, message.executable?);
    let folder = message.manifest_path.parent().unwrap_or(Path::new(".")).to_path_buf();
    Some(Executable {
        package: package(&message.manifest_path, &target.name),
        target: target.name,
        kind: target.kind.into_iter().next().unwrap_or_default(),
        folder,
        path,
    })
}

/// The package's name. Cargo's id of it has several forms; the folder's name is the package's in
/// this workspace, but for `tests`.
fn package(manifest: &Path, target: &str) -> String {
    let folder = manifest.parent().and_then(Path::file_name);
    match folder.and_then(|name| name.to_str()) {
        Some("tests") => "enforcer-tests".to_owned(),
        Some(name) => name.to_owned(),
        None => target.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"reason":"compiler-artifact","package_id":"path+file:///w/enforcer#0.1.0","manifest_path":"/w/enforcer/Cargo.toml","target":{"kind":["lib"],"crate_types":["lib"],"name":"enforcer","src_path":"/w/enforcer/src/lib.rs"},"profile":{"opt_level":"0","test":true},"features":[],"filenames":["/w/target/debug/deps/enforcer-1"],"executable":"/w/target/debug/deps/enforcer-1","fresh":true}
{"reason":"compiler-artifact","package_id":"path+file:///w/tests#enforcer-tests@0.1.0","manifest_path":"/w/tests/Cargo.toml","target":{"kind":["test"],"crate_types":["bin"],"name":"scenarios","src_path":"/w/tests/scenarios/main.rs"},"profile":{"test":true},"executable":"/w/target/debug/deps/scenarios-2","fresh":false}
{"reason":"compiler-artifact","manifest_path":"/w/tests/Cargo.toml","target":{"kind":["bin"],"name":"enforcer-lab"},"profile":{"test":false},"executable":"/w/target/debug/enforcer-lab"}
{"reason":"compiler-artifact","manifest_path":"/r/serde/Cargo.toml","target":{"kind":["lib"],"name":"serde"},"profile":{"test":false},"executable":null}
{"reason":"build-script-executed","package_id":"path+file:///w/enforcer#0.1.0","linked_libs":[]}
{"reason":"build-finished","success":true}
   Compiling something"#;

    #[test]
    fn only_test_programs_are_taken() {
        let found = parse(LINES.lines());
        let names: Vec<_> = found.iter().map(Executable::name).collect();
        assert_eq!(names, ["enforcer (lib)", "enforcer-tests: scenarios"]);
        assert_eq!(found[1].package, "enforcer-tests");
        assert_eq!(found[1].folder, PathBuf::from("/w/tests"));
        assert_eq!(found[1].path, PathBuf::from("/w/target/debug/deps/scenarios-2"));
    }
}
