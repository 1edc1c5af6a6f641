//! Manifests: folders of ordinary Kubernetes YAML as a source of the cluster's state.
//!
//! ```text
//! bytes ─► tree with places ─► Kubernetes type ─► model ─┐
//!          (yaml, tree)        (typed)        (convert)  ├─► one cluster ─► changes
//!                                            other files ┘   (merge)
//! ```
//! The last good version of a file stays in effect while the file has an error, so that a typo
//! never opens or closes a connection.

mod chunk;
mod dialect;
mod document;
mod error;
mod fields;
mod file;
mod input;
mod inspection;
mod json;
mod kinds;
mod list;
mod merge;
mod nulls;
mod object;
mod places;
mod reader;
mod report;
mod scalar;
mod template;
mod text;
mod tree;
mod update;
mod watch;
mod workload;
mod written;
mod yaml;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub use error::ManifestError;
pub use file::remark;
pub use input::{Input, is_stdin};
pub use inspection::{Declared, Inspection, Search, cluster, search};
pub use places::{Location, Places};
pub use report::Report;
pub use update::Update;

use crate::source::remark::Severity;
use enforcer_core::model::Cluster;
use file::File;

/// Folders of manifests, and their last contents.
#[derive(Debug, Default)]
pub struct Manifests {
    roots: Vec<PathBuf>,
    /// Texts that are no files, until they are read.
    unread: Vec<(PathBuf, Vec<u8>)>,
    files: BTreeMap<PathBuf, File>,
    cluster: Cluster,
    conflicts: Vec<Report>,
    /// Unreadable files and folders, with a report on each.
    unreadable: BTreeMap<PathBuf, Report>,
    /// The last reports on each file.
    reported: BTreeMap<PathBuf, Vec<Report>>,
}

impl Manifests {
    /// Manifests below folders, or single files. Reads nothing yet.
    ///
    /// # Errors
    /// One of them is missing, or neither a file nor a folder.
    pub fn new(dirs: Vec<PathBuf>) -> Result<Self, ManifestError> {
        for path in &dirs {
            if is_stdin(path) {
                return Err(ManifestError::Unwatchable(path.clone()));
            }
            let known = std::fs::metadata(path)
                .map_err(|error| ManifestError::Missing { path: path.clone(), error })?;
            if !known.is_file() && !known.is_dir() {
                return Err(ManifestError::Unwatchable(path.clone()));
            }
        }
        Ok(Self { roots: dirs, ..Self::default() })
    }

    /// The manifests of these inputs, which are read once, and the reports on them.
    #[must_use]
    pub fn read_once(inputs: &[Input]) -> (Self, Vec<Report>) {
        let mut manifests = Self::default();
        for input in inputs {
            match input {
                Input::Path(path) => manifests.roots.push(path.clone()),
                Input::Text { name, bytes } => {
                    manifests.unread.push((name.clone(), bytes.to_vec()));
                }
            }
        }
        let reports = manifests.rescan().reports;
        (manifests, reports)
    }

    /// Manifests in a text that is no file, and the reports on it, in which `name` stands for it.
    #[must_use]
    pub fn of_text(name: &Path, text: &str) -> (Self, Vec<Report>) {
        Self::read_once(&[Input::Text { name: name.to_owned(), bytes: text.as_bytes().into() }])
    }

    /// Reads the files and returns the differences to the last scan. Only files with new content
    /// are parsed. Files below a folder that has become unreadable stay in effect (semantics C4).
    pub fn rescan(&mut self) -> Update {
        let all = self.roots.iter().cloned().collect();
        self.rescan_below(&all)
    }

    /// The cluster that the files declare, as of the last scan.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Where the objects are declared, as of the last scan.
    #[must_use]
    pub fn places(&self) -> Places {
        Places::new(&self.files)
    }

    /// Like [`Self::rescan`], but reads only files at or below some paths: others may be
    /// half-written.
    fn rescan_below(&mut self, paths: &BTreeSet<PathBuf>) -> Update {
        let mut found = list::manifests(&self.roots);
        // A missing single file is not an unreadable folder: it was removed.
        found.lost.retain(|path, _| !self.files.contains_key(path));
        let mut touched = self.forget(&found);
        for path in found.files {
            if path.ancestors().any(|it| paths.contains(it)) && self.read(&path) {
                touched.insert(path);
            }
        }
        for (name, bytes) in std::mem::take(&mut self.unread) {
            self.files.insert(name.clone(), File::new(&name, bytes));
            touched.insert(name);
        }
        let held = self.files.values().flat_map(|it| &it.effective);
        let (cluster, conflicts) = merge::merge(held.map(|it| (&*it.text, &it.object)));
        let (before, now) = (by_file(&self.conflicts), by_file(&conflicts));
        let files = before.keys().chain(now.keys()).filter(|it| before.get(*it) != now.get(*it));
        touched.extend(files.map(|it| it.to_path_buf()));
        self.conflicts = conflicts;
        let changes = merge::changes(&self.cluster, &cluster);
        self.cluster = cluster;
        let reports = touched.iter().flat_map(|it| self.reports_on(it)).collect();
        Update { changes, reports, received_at: None }
    }

    /// Forgets removed files. Returns them, and the folders that became unreadable or readable.
    fn forget(&mut self, found: &list::Found) -> BTreeSet<PathBuf> {
        let mut touched = BTreeSet::new();
        let mut keep = |path: &PathBuf, there: bool| {
            if !there {
                touched.insert(path.clone());
            }
            there
        };
        self.files.retain(|path, _| keep(path, found.may_have(path)));
        self.unreadable.retain(|path, _| keep(path, found.may_have(path)));
        for (path, error) in &found.lost {
            if !self.unreadable.contains_key(path) {
                self.unreadable.insert(path.clone(), file::unreadable(path, error));
                touched.insert(path.clone());
            }
        }
        touched
    }

    /// Reads a file; returns whether its reports may have changed.
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
            // It was removed after it was listed; the next scan handles that.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => {
                let report = file::unreadable(path, &error);
                self.unreadable.insert(path.to_owned(), report).is_none()
            }
        }
    }

    /// All reports on a file: they replace the earlier ones.
    fn reports_on(&mut self, path: &Path) -> Vec<Report> {
        let mut now: Vec<Report> = self.unreadable.get(path).into_iter().cloned().collect();
        if let Some(file) = self.files.get(path) {
            now.extend(file.reports.iter().cloned());
        }
        now.extend(self.conflicts.iter().filter(|it| it.file == path).cloned());
        let bad = |it: &Report| it.severity != Severity::Notice;
        let before = if now.is_empty() {
            self.reported.remove(path)
        } else {
            self.reported.insert(path.to_owned(), now.clone())
        };
        if before.iter().flatten().any(bad) && !now.iter().any(bad) {
            let there = self.files.contains_key(path) || path.is_dir();
            now.push(file::notice(path, if there { "fixed" } else { "gone, with its errors" }));
        }
        now
    }
}

fn by_file(reports: &[Report]) -> BTreeMap<&Path, Vec<&Report>> {
    let mut files: BTreeMap<&Path, Vec<&Report>> = BTreeMap::new();
    for report in reports {
        files.entry(&report.file).or_default().push(report);
    }
    files
}

#[cfg(test)]
mod tests;
