//! Builds test programs and finds them in cargo's JSON messages.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::process;
use crate::ui::Step;

/// A test program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Executable {
    /// Its package.
    pub(crate) package: String,
    /// The target's name: the crate's, or the integration test's.
    pub(crate) target: String,
    /// The kind of target: `lib`, `bin`, `test`.
    pub(crate) kind: String,
    /// The package's folder, in which its tests run.
    pub(crate) folder: PathBuf,
    /// The program's path.
    pub(crate) path: PathBuf,
}

impl Executable {
    /// Its name in the progress: `enforcer (lib)`, `enforcer-tests: scenarios`.
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
    package_id: String,
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

/// Runs a cargo command that builds test programs.
///
/// # Errors
/// They don't build; the error quotes the compiler's output.
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
        let output: Vec<_> = lines.into_iter().filter(|line| !is_message(line)).collect();
        bail!("the tests don't build\n{}", output.join("\n"));
    }
    Ok(parse(lines.iter().map(String::as_str)))
}

/// Reads the test programs from cargo's messages, one line of JSON each.
fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Executable> {
    lines.filter_map(message).filter_map(executable).collect()
}

fn message(line: &str) -> Option<Message> {
    // Other lines aren't messages.
    serde_json::from_str(line).ok()
}

fn executable(message: Message) -> Option<Executable> {
    if message.reason != "compiler-artifact" || !message.profile?.test {
        return None;
    }
    let (target, path) = (message.target?, message.executable?);
    let folder = message.manifest_path.parent().unwrap_or(Path::new(".")).to_path_buf();
    Some(Executable {
        package: package(&message.package_id).to_owned(),
        target: target.name,
        kind: target.kind.into_iter().next().unwrap_or_default(),
        folder,
        path,
    })
}

/// The name in a package's id: `path+file:///w/tests#enforcer-tests@0.1.0`, or
/// `path+file:///w/enforcer#0.1.0` if the folder has the package's name.
fn package(id: &str) -> &str {
    let (path, rest) = id.rsplit_once('#').unwrap_or((id, ""));
    match rest.split_once('@') {
        Some((name, _)) => name,
        None => path.rsplit('/').next().unwrap_or(path),
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
    fn only_test_programs_are_found() {
        let found = parse(LINES.lines());
        let names: Vec<_> = found.iter().map(Executable::name).collect();
        assert_eq!(names, ["enforcer (lib)", "enforcer-tests: scenarios"]);
        assert_eq!(found[1].package, "enforcer-tests");
        assert_eq!(found[1].folder, PathBuf::from("/w/tests"));
        assert_eq!(found[1].path, PathBuf::from("/w/target/debug/deps/scenarios-2"));
    }
}
