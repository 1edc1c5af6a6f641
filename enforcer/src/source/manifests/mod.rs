//! Manifests: folders of ordinary Kubernetes YAML as the cluster's state.
//!
//! ```text
//! bytes ─► tree with places ─► Kubernetes type ─► model ─┐
//!          (yaml, build)       (typed)        (convert)  ├─► one cluster ─► changes
//!                                            other files ┘   (merge)
//! ```
//! The last good state of a file stays in effect while the file has an error, so that a slip of
//! the pen never opens or closes a connection.

mod build;
mod document;
mod fields;
mod file;
mod kinds;
mod list;
mod merge;
mod report;
mod scalar;
mod text;
mod tree;
mod update;
mod watch;
mod workload;
mod yaml;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub use report::Report;
pub use update::Update;

use crate::source::remark::Severity;
use enforcer_core::model::Cluster;
use file::File;

/// Why manifests can't be used at all.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A folder isn't there.
    #[error("{}: {error}", path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Changes of the files can't be noticed.
    #[error("can't watch the manifests: {0}")]
    Watch(#[from] notify::Error),
    /// Reading stopped unexpectedly.
    #[error("reading the manifests stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

/// Folders of manifests, and what they said last.
#[derive(Debug)]
pub struct Manifests {
    roots: Vec<PathBuf>,
    files: BTreeMap<PathBuf, File>,
    cluster: Cluster,
    conflicts: Vec<Report>,
    /// What can't be read, and the remark on it.
    unreadable: BTreeMap<PathBuf, Report>,
    /// The remarks that were last made on each file.
    said: BTreeMap<PathBuf, Vec<Report>>,
}

impl Manifests {
    /// Manifests below folders (or single files). Reads nothing yet.
    ///
    /// # Errors
    /// If one of them is not there.
    pub fn new(dirs: Vec<PathBuf>) -> Result<Self, ManifestError> {
        for path in &dirs {
            std::fs::metadata(path)
                .map_err(|error| ManifestError::Missing { path: path.clone(), error })?;
        }
        Ok(Self {
            roots: dirs,
            files: BTreeMap::new(),
            cluster: Cluster::default(),
            conflicts: Vec::new(),
            unreadable: BTreeMap::new(),
            said: BTreeMap::new(),
        })
    }

    /// Reads the files and returns what is different since the last time. Only files with new
    /// content are parsed. What was read below a folder that can't be looked into any more stays
    /// in effect (semantics C4).
    pub fn rescan(&mut self) -> Update {
        let all = self.roots.iter().cloned().collect();
        self.rescan_below(&all)
    }

    /// Like [`Self::rescan`], but reads only files at or below some paths: others may be half
    /// written at the moment.
    fn rescan_below(&mut self, paths: &BTreeSet<PathBuf>) -> Update {
        let mut found = list::manifests(&self.roots);
        // A single file is not a folder that was lost; it is gone.
        found.lost.retain(|path, _| !self.files.contains_key(path));
        let mut heard = self.forget(&found);
        for path in found.files {
            if path.ancestors().any(|it| paths.contains(it)) && self.read(&path) {
                heard.insert(path);
            }
        }
        let (cluster, conflicts) = merge::merge(&self.files);
        let other = |a: &[Report], b: &[Report]| {
            let only = a.iter().filter(|it| !b.contains(it));
            only.map(|it| it.file.clone()).collect::<Vec<_>>()
        };
        heard.extend(other(&conflicts, &self.conflicts));
        heard.extend(other(&self.conflicts, &conflicts));
        self.conflicts = conflicts;
        let changes = merge::changes(&self.cluster, &cluster);
        self.cluster = cluster;
        let reports = heard.iter().flat_map(|it| self.remarks(it)).collect();
        Update { changes, reports, received_at: None }
    }

    /// Forgets the files that are gone. Returns those, and the folders that were lost or are back.
    fn forget(&mut self, found: &list::Found) -> BTreeSet<PathBuf> {
        let mut heard = BTreeSet::new();
        let mut keep = |path: &PathBuf, there: bool| {
            if !there {
                heard.insert(path.clone());
            }
            there
        };
        self.files.retain(|path, _| keep(path, found.may_have(path)));
        self.unreadable.retain(|path, _| keep(path, found.may_have(path)));
        for (path, error) in &found.lost {
            if !self.unreadable.contains_key(path) {
                self.unreadable.insert(path.clone(), file::unreadable(path, error));
                heard.insert(path.clone());
            }
        }
        heard
    }

    /// Reads a file; whether there is something new to say about it.
    fn read(&mut self, path: &Path) -> bool {
        match std::fs::read(path) {
            Ok(bytes) => {
                let back = self.unreadable.remove(path).is_some();
                let changed = match self.files.entry(path.to_owned()) {
                    Entry::Occupied(mut entry) => entry.get_mut().update(path, bytes),
                    Entry::Vacant(entry) => {
                        entry.insert(File::new(path, bytes));
                        true
                    }
                };
                back || changed
            }
            // It vanished after it was listed; the next scan notices.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => {
                let report = file::unreadable(path, &error);
                self.unreadable.insert(path.to_owned(), report).is_none()
            }
        }
    }

    /// All remarks on a file, so that whoever keeps them can replace those that it has.
    fn remarks(&mut self, path: &Path) -> Vec<Report> {
        let mut now: Vec<Report> = self.unreadable.get(path).into_iter().cloned().collect();
        if let Some(file) = self.files.get(path) {
            now.extend(file.reports.iter().cloned());
        }
        now.extend(self.conflicts.iter().filter(|it| it.file == path).cloned());
        let bad = |it: &Report| it.severity != Severity::Notice;
        let before = if now.is_empty() {
            self.said.remove(path)
        } else {
            self.said.insert(path.to_owned(), now.clone())
        };
        if before.iter().flatten().any(bad) && !now.iter().any(bad) {
            let there = self.files.contains_key(path) || path.is_dir();
            now.push(file::notice(path, if there { "fixed" } else { "gone, with its errors" }));
        }
        now
    }
}

#[cfg(test)]
mod tests;
