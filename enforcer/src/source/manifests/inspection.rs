//! One look at files, with all that they declare, for those who judge them instead of enforcing them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use enforcer_core::model::{Cluster, PolicyId};
use serde_json::Value;

use super::document::{Declaration, Parsed};
use super::object::Object;
use super::report::Report;
use super::text::Text;
use super::yaml::Root;
use super::{file, kinds, list, merge};
use crate::source::remark::Severity;

/// A file that was read.
#[derive(Debug)]
pub struct Inspection {
    text: Arc<Text>,
    roots: Vec<Root>,
    declarations: Vec<Declaration>,
    objects: Vec<Object>,
    reports: Vec<Report>,
}

/// An object as it is written.
#[derive(Debug, Clone, Copy)]
pub struct Declared<'i> {
    inspection: &'i Inspection,
    declaration: &'i Declaration,
}

/// What was found at some paths.
#[derive(Debug, Default)]
pub struct Search {
    /// The files to read.
    pub files: Vec<PathBuf>,
    /// What can't be read: folders, links without a target, folders without manifests.
    pub reports: Vec<Report>,
}

/// Finds the manifests at and below some paths.
#[must_use]
pub fn search(paths: &[PathBuf]) -> Search {
    let found = list::manifests(paths);
    let error = |path: &Path, message: String| file::remark(path, Severity::Error, &message);
    let lost = found.lost.iter().map(|(path, why)| error(path, format!("can't be read: {why}")));
    let dangling = found.dangling.iter().map(|it| error(it, "a link without a target".to_owned()));
    let mut reports: Vec<Report> = lost.chain(dangling).collect();
    for path in paths.iter().filter(|it| it.is_dir() && !found.lost.contains_key(*it)) {
        let within = |it: &PathBuf| it.starts_with(path);
        if !found.files.iter().chain(&found.dangling).any(within) {
            let message = "no manifests in this folder: no file ends in .yaml, .yml or .json";
            reports.push(error(path, message.to_owned()));
        }
    }
    Search { files: found.files.into_iter().collect(), reports }
}

impl Inspection {
    /// Reads the contents of a file.
    #[must_use]
    pub fn new(path: &Path, bytes: &[u8]) -> Self {
        let (text, roots, parsed) = file::analyse(path, bytes, true);
        let Parsed { objects, declarations, reports, .. } = parsed;
        let reports = reports.into_iter().map(Report::for_new_object).collect();
        Self { text: Arc::new(text), roots, declarations, objects, reports }
    }

    /// A file that can't be read.
    #[must_use]
    pub fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        let mut inspection = Self::new(path, b"");
        let message = format!("can't be read: {error}");
        inspection.reports.push(file::remark(path, Severity::Error, &message));
        inspection
    }

    /// The mistakes in the file.
    #[must_use]
    pub fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// The objects, those of other kinds and those with errors included.
    pub fn declared(&self) -> impl Iterator<Item = Declared<'_>> {
        self.declarations.iter().map(|declaration| Declared { inspection: self, declaration })
    }

    /// A warning about a line, counted from 1.
    #[must_use]
    pub fn warning(&self, line: usize, message: &str) -> Report {
        let start = self.text.lines().nth(line.saturating_sub(1)).map_or(0, |(start, _)| start);
        Report::new(&self.text, self.text.place(start, usize::MAX), Severity::Warning, message)
    }

    /// Whether a report is about this file.
    #[must_use]
    pub fn is_about(&self, report: &Report) -> bool {
        report.file == self.text.file
    }

    fn folder(&self) -> Option<&Path> {
        self.text.file.parent()
    }

    /// Whether a policy of the file does not name its namespace.
    fn is_loose(&self, policy: &Object) -> bool {
        let is_it = |it: &Declared<'_>| {
            it.policy().is_some_and(|id| id.name == policy.name) && !it.names_namespace()
        };
        self.declared().any(|it| is_it(&it))
    }

    /// The lines of the file, the first one at index 0.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines().map(|(_, line)| line)
    }
}

/// The cluster that files declare together, objects with errors left out, and the policies that they
/// declare twice in different ways. Folders often hold a policy twice in the same way, as a part and
/// rendered, and other objects twice in different ways, as their patches.
#[must_use]
pub fn cluster(inspections: &[Inspection]) -> (Cluster, Vec<Report>) {
    let mut known: HashMap<_, (&Inspection, &Object)> = HashMap::new();
    let mut different = Vec::new();
    for inspection in inspections {
        for object in &inspection.objects {
            let (file, first) = *known.entry(object.key()).or_insert((inspection, object));
            let is_policy = object.kind == "NetworkPolicy";
            // Who applies folders chooses the namespaces of policies that name none.
            let is_apart = || file.folder() != inspection.folder() && inspection.is_loose(object);
            let is_new = std::ptr::eq(first, object);
            if is_new || (is_policy && first.items != object.items && !is_apart()) {
                different.push((&*inspection.text, object));
            }
        }
    }
    let (cluster, mut conflicts) = merge::merge(different.into_iter());
    for it in &mut conflicts {
        it.severity = Severity::Warning;
        it.message =
            it.message.replace("that one counts", "of two, the last one that is applied counts");
    }
    (cluster, conflicts)
}

impl<'i> Declared<'i> {
    /// The kind as it is written.
    #[must_use]
    pub fn kind(&self) -> &'i str {
        &self.declaration.kind
    }

    /// The API version as it is written.
    #[must_use]
    pub fn version(&self) -> &'i str {
        &self.declaration.version
    }

    /// The object; `null` stands where it is written.
    #[must_use]
    pub fn json(&self) -> &'i Value {
        &self.declaration.json
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &'i Path {
        &self.inspection.text.file
    }

    /// Whether it names its namespace. Otherwise who applies it chooses.
    #[must_use]
    pub fn names_namespace(&self) -> bool {
        self.text("/metadata/namespace").is_some_and(|it| !it.is_empty())
    }

    fn text(&self, pointer: &str) -> Option<&'i str> {
        self.json().pointer(pointer).and_then(Value::as_str)
    }

    /// Whether it is a NetworkPolicy of Kubernetes, perhaps with mistakes in its version. Others have such a kind, too.
    #[must_use]
    pub fn is_policy(&self) -> bool {
        let support = || kinds::support(self.kind(), self.version());
        self.kind() == "NetworkPolicy" && support() != kinds::Support::OtherPolicy
    }

    /// Namespace and name, if it is a policy.
    #[must_use]
    pub fn policy(&self) -> Option<PolicyId> {
        let namespace = self.text("/metadata/namespace").filter(|it| !it.is_empty());
        let id = PolicyId::new(namespace.unwrap_or("default"), self.text("/metadata/name")?);
        self.is_policy().then_some(id)
    }

    /// A report on a field of it: on its key or, unless `on_key`, on a scalar's value.
    #[must_use]
    pub fn report(&self, path: &str, on_key: bool, severity: Severity, message: &str) -> Report {
        let Inspection { text, roots, .. } = self.inspection;
        let path = format!("{}{path}", self.declaration.prefix);
        let place = roots.get(self.declaration.root).map_or_else(file::first, |root| {
            let node = &root.node;
            root.place(text, if on_key { node.locate_key(&path) } else { node.locate(&path) })
        });
        Report::new(text, place, severity, message).at(path)
    }
}
