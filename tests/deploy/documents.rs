//! The documents refer to existing files.

use std::fs;
use std::path::Path;

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The words that are paths into `deploy/`, without enclosing characters.
fn paths(text: &str) -> Vec<&str> {
    let enclosing = |c: char| "`()[],.;:\"'".contains(c);
    text.split(|c: char| c.is_whitespace() || c == '(' || c == '=')
        .map(|word| word.trim_matches(enclosing).trim_start_matches("./"))
        .filter(|word| word.starts_with("deploy/"))
        .collect()
}

#[test]
fn paths_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut seen = 0;
    for name in ["README.md", "SECURITY.md", "ARCHITECTURE.md", "deploy/README.md"] {
        for path in paths(&document(name)) {
            // A section of a document, or a line of a file as `explain` names it.
            let path = path.split(['#', ':']).next().unwrap_or_default();
            assert!(root.join(path).exists(), "{name}: there is no {path}");
            seen += 1;
        }
    }
    assert!(seen > 5, "only {seen} paths were found");
}

#[test]
fn every_component_and_overlay_is_explained() {
    let guide = document("deploy/README.md");
    for folder in ["components", "overlays"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kustomize").join(folder);
        for entry in fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(
                guide.contains(&format!("`{name}`")),
                "deploy/README.md does not explain {name}"
            );
        }
    }
}
