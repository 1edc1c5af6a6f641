//! The workloads that pods belong to: names for people, and groups of pods that are alike.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::{Name, Pod, PodId};

/// A workload. `Display`: `shop/web (deploy)`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its kind as `kubectl` abbreviates it (`deploy`, `sts`, `ds`, `job`, `pod`); empty: unknown.
    pub kind: &'static str,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, kind } = self;
        match *kind {
            "" | "pod" => write!(f, "{namespace}/{name}"),
            kind => write!(f, "{namespace}/{name} ({kind})"),
        }
    }
}

/// Labels that controllers set, and the kinds of these.
const TEMPLATE_HASH: &str = "pod-template-hash";
const REVISION_HASH: &str = "controller-revision-hash";
const SET_POD: &str = "statefulset.kubernetes.io/pod-name";
const JOB: &str = "batch.kubernetes.io/job-name";
const OLD_JOB: &str = "job-name";

impl Workload {
    /// The workload of a pod, from the labels that Kubernetes' controllers set. They are no proof:
    /// the result is a name for people, never an identity.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let (name, kind) = name(pod);
        Self { namespace: pod.id.namespace.to_string(), name, kind }
    }
}

fn name(pod: &Pod) -> (String, &'static str) {
    let name = pod.id.name.as_str();
    let label = |key: &str| pod.labels.get(key).map(Name::as_str);
    if let Some(hash) = label(TEMPLATE_HASH) {
        let set = name.rsplit_once('-').map_or(name, |(set, _)| set);
        let deployment = set.strip_suffix(hash).and_then(|it| it.strip_suffix('-'));
        return deployment.map_or((set.to_owned(), "rs"), |it| (it.to_owned(), "deploy"));
    }
    if let Some(job) = label(JOB).or_else(|| label(OLD_JOB)) {
        return (job.to_owned(), "job");
    }
    let Some((set, _)) = name.rsplit_once('-') else { return (name.to_owned(), "pod") };
    match (label(SET_POD), label(REVISION_HASH)) {
        (Some(_), _) => (set.to_owned(), "sts"),
        (None, Some(_)) => (set.to_owned(), "ds"),
        (None, None) => (name.to_owned(), "pod"),
    }
}

/// The workloads of all pods: those that the source knows, else [`Workload::of`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workloads(BTreeMap<PodId, Workload>);

impl Workloads {
    /// The workloads that the source knows.
    #[must_use]
    pub fn new(known: BTreeMap<PodId, Workload>) -> Self {
        Self(known)
    }

    /// Adds those of another source.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The pod's workload.
    #[must_use]
    pub fn of(&self, pod: &Pod) -> Workload {
        self.0.get(&pod.id).cloned().unwrap_or_else(|| Workload::of(pod))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(name: &str, labels: &[(&str, &str)]) -> String {
        let labels = labels.iter().copied();
        let pod = Pod { labels: labels.collect(), ..Pod::new(PodId::new("shop", name)) };
        Workload::of(&pod).to_string()
    }

    #[test]
    fn controllers_labels_name_the_workload() {
        let deployed = [(TEMPLATE_HASH, "5d9f7c")];
        assert_eq!(workload("web-app-5d9f7c-x7k2p", &deployed), "shop/web-app (deploy)");
        assert_eq!(workload("web-x7k2p", &[(TEMPLATE_HASH, "5d9f7c")]), "shop/web (rs)");
        let set = [(SET_POD, "db-0"), (REVISION_HASH, "db-6c")];
        assert_eq!(workload("db-0", &set), "shop/db (sts)");
        assert_eq!(workload("log-agent-x7k2p", &[(REVISION_HASH, "6c")]), "shop/log-agent (ds)");
        assert_eq!(workload("backup-x7k2p", &[(JOB, "backup")]), "shop/backup (job)");
        assert_eq!(workload("backup-x7k2p", &[(OLD_JOB, "backup")]), "shop/backup (job)");
        assert_eq!(workload("db-0", &[]), "shop/db-0");
        assert_eq!(workload("debug", &[(REVISION_HASH, "6c")]), "shop/debug");
    }
}
