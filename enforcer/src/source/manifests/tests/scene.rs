//! A directory of manifests, and the cluster that its updates lead to.

use std::fmt::Write as _;
use std::path::PathBuf;

use tempfile::TempDir;

use super::super::{Manifests, Report, Update};
use enforcer_core::model::{Cluster, Policy, PolicyId};

/// A directory of manifests, and the cluster that its updates lead to.
pub(super) struct Scene {
    pub(super) directory: TempDir,
    pub(super) manifests: Manifests,
    pub(super) cluster: Cluster,
}

impl Scene {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let manifests = Manifests::new(vec![directory.path().to_owned()]).unwrap();
        Self { directory, manifests, cluster: Cluster::default() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(super) fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    /// Rescans; asserts that each change has an effect.
    pub(super) fn rescan(&mut self) -> Update {
        let update = self.manifests.rescan();
        for change in &update.changes {
            assert!(self.cluster.apply(change.clone()), "no change: {change:?}");
        }
        update
    }

    /// Writes a file and rescans; returns the reports.
    pub(super) fn save(&mut self, name: &str, text: impl AsRef<[u8]>) -> String {
        self.write(name, text);
        let update = self.rescan();
        self.lines(&update.reports)
    }

    /// Reports as lines, without the directory's random name.
    pub(super) fn lines(&self, reports: &[Report]) -> String {
        let mut lines = String::new();
        for report in reports {
            writeln!(lines, "{report}").unwrap();
        }
        lines.replace(&format!("{}/", self.directory.path().display()), "")
    }

    pub(super) fn policy(&self, name: &str) -> Option<&Policy> {
        self.cluster.policies.get(&PolicyId::new("default", name))
    }

    pub(super) fn policies(&self) -> Vec<&str> {
        self.cluster.policies.keys().map(|id| id.name.as_str()).collect()
    }

    /// The namespaces and names of all pods.
    pub(super) fn pods(&self) -> String {
        self.cluster.pods.keys().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
}

/// A policy's manifest with that `spec`, which is indented by two blanks.
pub(super) fn policy(name: &str, spec: &str) -> String {
    let head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n";
    let spec = spec.lines().fold(String::new(), |all, line| format!("{all}  {line}\n"));
    format!("{head}metadata: {{name: {name}}}\nspec:\n{spec}")
}

/// A pod's manifest.
pub(super) fn pod(name: &str, label: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  labels: {{app: {label}}}\n\
         spec:\n  containers: [{{name: c, image: i}}]\n"
    )
}
