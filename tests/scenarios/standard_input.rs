//! Manifests from standard input and from pipes, as people use them in a shell.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::support::agent;

const PODS: &str = "apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
---
apiVersion: v1
kind: Pod
metadata: {name: db, labels: {app: db}}
";
const CLOSED: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec: {podSelector: {}}
";

/// Runs a line of bash with two files in the present folder.
fn bash(folder: &Path, line: &str) -> Output {
    std::fs::write(folder.join("pods.yaml"), PODS).unwrap();
    std::fs::write(folder.join("closed.yaml"), CLOSED).unwrap();
    let line = line.replace("enforcer ", &format!("'{}' ", agent().display()));
    let mut bash = Command::new("bash");
    bash.args(["-c", &line]).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn standard_input_and_pipes_are_read_like_files() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("cat pods.yaml | enforcer explain --manifests - pod/web pod/db:80", 0),
        (
            "cat closed.yaml | enforcer explain --manifests pods.yaml --what-if - pod/web pod/db:80",
            1,
        ),
        (
            "enforcer explain --manifests pods.yaml --what-if <(cat closed.yaml) pod/web pod/db:80",
            1,
        ),
        ("cat closed.yaml | enforcer diff pods.yaml -", 1),
        ("enforcer diff pods.yaml <(cat pods.yaml; echo ---; cat closed.yaml)", 1),
        ("cat pods.yaml | enforcer diff pods.yaml -", 0),
        ("cat closed.yaml | enforcer check -", 0),
    ];
    for (line, code) in cases {
        let output = bash(folder.path(), line);
        assert_eq!(output.status.code(), Some(code), "{line}\n{output:?}");
    }
}

/// What was read once looks empty the second time: an empty side would be compared, or nothing asked about.
#[test]
fn standard_input_is_not_read_twice_and_not_watched() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("cat pods.yaml | enforcer diff - -", "standard input can be read only once"),
        ("false | enforcer diff pods.yaml -", "<stdin> is empty"),
        ("false | enforcer explain --manifests pods.yaml --what-if - pod/web pod/db", "is empty"),
        ("enforcer run --manifests <(cat pods.yaml)", "its changes can't be watched"),
        ("cat pods.yaml | enforcer run --manifests -", "its changes can't be watched"),
        ("cat /dev/null | enforcer check -", "<stdin>:1:1: error: no objects in the given files"),
    ];
    for (line, message) in cases {
        let output = bash(folder.path(), line);
        let text = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap()).concat();
        assert!(text.contains(message), "{line}\n{text}");
        assert_ne!(output.status.code(), Some(0), "{line}");
    }
}
