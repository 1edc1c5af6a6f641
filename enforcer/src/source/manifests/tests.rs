mod diagnostics;
mod editors;
mod persistence;
mod recordings;
mod scene;
mod states;

use std::fs;
use std::path::Path;

use super::*;

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn manifests(dir: &Path) -> Manifests {
    Manifests::new(vec![dir.to_owned()]).unwrap()
}

/// Reports, one per line, without the folder.
fn lines(dir: &Path, update: &Update) -> String {
    let all: Vec<_> = update.reports.iter().map(ToString::to_string).collect();
    all.join("\n").replace(&format!("{}/", dir.display()), "")
}
