//! Kept cases: attacks that once got through, as JSON.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::crafted::Attack;

#[derive(Serialize, Deserialize)]
struct Case {
    /// What happened.
    found: String,
    attack: Attack,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("adversary/failures")
}

/// All kept cases, by file name.
pub(crate) fn read() -> Vec<(String, Attack)> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "json")).collect();
    paths.sort();
    let parse = |path: &PathBuf| {
        let case: Case = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        (path.file_stem().unwrap().display().to_string(), case.attack)
    };
    paths.iter().map(parse).collect()
}

/// Keeps an attack that got through.
pub(crate) fn keep(attack: &Attack, found: &str) -> PathBuf {
    let case = Case { found: found.to_owned(), attack: attack.clone() };
    let mut hash = DefaultHasher::new();
    serde_json::to_string(attack).unwrap().hash(&mut hash);
    let path = folder().join(format!("{:016x}.json", hash.finish()));
    fs::write(&path, serde_json::to_string_pretty(&case).unwrap() + "\n").unwrap();
    path
}

#[test]
fn kept_cases_are_read_back() {
    let attack = vec![crate::crafted::Crafted::default()];
    let case = Case { found: String::new(), attack: attack.clone() };
    let text = serde_json::to_string(&case).unwrap();
    assert_eq!(serde_json::from_str::<Case>(&text).unwrap().attack, attack);
}
