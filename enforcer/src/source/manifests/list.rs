//! Which files there are.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Folders within folders that are followed.
const MOST_LEVELS: usize = 16;

/// Device and inode: what a file is, by whatever path.
pub(super) type Identity = (u64, u64);

/// What was found below some paths.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The manifests; one that is there by several paths, by the first of them.
    pub(super) files: BTreeSet<PathBuf>,
    /// Folders that can't be looked into: what was read below them has to do.
    pub(super) lost: BTreeMap<PathBuf, io::Error>,
}

impl Found {
    /// Whether a path may still be there although it was not found.
    pub(super) fn may_have(&self, path: &Path) -> bool {
        self.files.contains(path) || path.ancestors().any(|it| self.lost.contains_key(it))
    }
}

/// The manifests at and below some paths.
pub(super) fn manifests(roots: &[PathBuf]) -> Found {
    let mut found = Found::default();
    for root in roots {
        if root.is_file() {
            found.files.insert(root.clone());
        } else {
            folder(root, &mut Vec::new(), &mut found);
        }
    }
    let mut seen = HashSet::new();
    found.files.retain(|path| identity(path).is_none_or(|it| seen.insert(it)));
    found
}

/// What a path leads to; `None` if that can't be told.
pub(super) fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|it| (it.dev(), it.ino()))
}

/// `above`: the folders that we are in. A link may lead back into one of them.
fn folder(path: &Path, above: &mut Vec<Identity>, found: &mut Found) {
    let is_root = above.is_empty();
    let entries = match (fs::metadata(path), fs::read_dir(path)) {
        (Ok(it), Ok(entries)) if !above.contains(&(it.dev(), it.ino())) => {
            above.push((it.dev(), it.ino()));
            entries
        }
        (Ok(_), Ok(_)) => return,
        // A folder in a folder comes and goes; but that all of them go is not meant.
        (Err(error), _) | (_, Err(error)) => {
            if is_root || error.kind() != io::ErrorKind::NotFound {
                found.lost.insert(path.to_owned(), error);
            }
            return;
        }
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if is_hidden(&path) {
            continue;
        }
        if path.is_dir() {
            if above.len() < MOST_LEVELS {
                folder(&path, above, found);
            }
        } else if is_manifest(&path) && path.is_file() {
            found.files.insert(path);
        }
    }
    above.pop();
}

/// Editors' copies, and the folders behind the links of a mounted ConfigMap.
fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|it| it.as_encoded_bytes().starts_with(b"."))
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == "yaml" || it == "yml" || it == "json")
}
