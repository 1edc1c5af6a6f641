//! Finds the manifest files.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Levels of folders that are followed.
const MOST_LEVELS: usize = 16;

/// Device and inode: the identity of a file, whatever its path.
pub(super) type Identity = (u64, u64);

/// The result of a search.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The manifests, each by the first of its paths.
    pub(super) files: BTreeSet<PathBuf>,
    /// Links without a target.
    pub(super) dangling: BTreeSet<PathBuf>,
    /// Unreadable folders: files below them keep their last version.
    pub(super) lost: BTreeMap<PathBuf, io::Error>,
}

impl Found {
    /// Whether a path may still exist although it was not found.
    pub(super) fn may_have(&self, path: &Path) -> bool {
        self.files.contains(path) || path.ancestors().any(|it| self.lost.contains_key(it))
    }
}

/// Finds the manifests at and below some paths.
pub(super) fn manifests(roots: &[PathBuf]) -> Found {
    let mut found = Found::default();
    for root in roots {
        if root.is_file() {
            found.files.insert(root.clone());
        } else if root.exists() && !root.is_dir() {
            // A pipe has no content to come back to: only its reader knows it.
        } else {
            folder(root, &mut Vec::new(), &mut found);
        }
    }
    let mut seen = HashSet::new();
    found.files.retain(|path| identity(path).is_none_or(|it| seen.insert(it)));
    found
}

/// The identity of a path's target; `None` if unknown.
pub(super) fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|it| (it.dev(), it.ino()))
}

/// `above` are the folders around this one. A link may lead back to one of them.
fn folder(path: &Path, above: &mut Vec<Identity>, found: &mut Found) {
    let is_root = above.is_empty();
    let entries = match (fs::metadata(path), fs::read_dir(path)) {
        (Ok(it), Ok(entries)) if !above.contains(&(it.dev(), it.ino())) => {
            above.push((it.dev(), it.ino()));
            entries
        }
        (Ok(_), Ok(_)) => return,
        // Folders within a root come and go, but a missing root is a mistake.
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
        } else if is_manifest(&path) && path.is_symlink() && !path.exists() {
            found.dangling.insert(path);
        }
    }
    above.pop();
}

/// Copies of editors, and the folders behind the links of a mounted ConfigMap.
fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|it| it.as_encoded_bytes().starts_with(b"."))
}

fn is_manifest(path: &Path) -> bool {
    let extensions = ["yaml", "yml", "json"];
    path.extension().is_some_and(|it| extensions.iter().any(|known| it.eq_ignore_ascii_case(known)))
}
