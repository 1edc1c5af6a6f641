//! The objects of all files → one cluster, and the changes between two clusters.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::object::{Item, Object, Status};
use super::report::Report;
use super::text::Text;
use crate::source::remark::Severity;
use enforcer_core::model::{Change, Cluster, Labels, Namespace};

/// Merges objects, each with the text that declares it; reports duplicate declarations.
pub(super) fn merge<'f>(
    objects: impl Iterator<Item = (&'f Text, &'f Object)>,
) -> (Cluster, Vec<Report>) {
    let mut merger = Merger::default();
    for (text, object) in objects {
        merger.object(text, object);
    }
    merger.finish()
}

/// Kind, namespace, name.
type Key = (&'static str, String, String);

#[derive(Default)]
struct Merger {
    cluster: Cluster,
    /// Where each object was declared first: `file:line`.
    declared: BTreeMap<Key, String>,
    statuses: Vec<Status>,
    reports: Vec<Report>,
}

impl Merger {
    fn object(&mut self, text: &Text, object: &Object) {
        let key = (object.kind, object.namespace.clone(), object.name.clone());
        if !self.declare(key, text, object) {
            return;
        }
        for item in &object.items {
            match item {
                Item::Namespace(it) => {
                    self.cluster.namespaces.insert(it.name.clone(), it.clone());
                }
                Item::Pod(it) => {
                    let id = &it.id;
                    let key = ("Pod", id.namespace.to_string(), id.name.to_string());
                    if object.kind == "Pod" || self.declare(key, text, object) {
                        self.cluster.pods.insert(id.clone(), it.clone());
                    }
                }
                Item::Status(it) => self.statuses.push(it.clone()),
                Item::Policy(it) => {
                    self.cluster.policies.insert(it.id.clone(), it.clone());
                }
                Item::Service(it) => {
                    self.cluster.services.insert(it.id.clone(), it.clone());
                }
            }
        }
    }

    /// Returns whether this is the first declaration; reports it if not.
    fn declare(&mut self, key: Key, text: &Text, object: &Object) -> bool {
        let here = format!("{}:{}", text.file.display(), object.place.line);
        let (kind, namespace, name) = &key;
        let called = match namespace.as_str() {
            "" => format!("{kind} {name}"),
            namespace => format!("{kind} {namespace}/{name}"),
        };
        match self.declared.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(here);
                true
            }
            Entry::Occupied(entry) => {
                let first = entry.get();
                let message = format!("{called} is already declared at {first}; that one counts");
                let report = Report::new(text, object.place, Severity::Error, message);
                let help = Some("keep one of the two".to_owned());
                self.reports.push(report.at("metadata.name").help(help));
                false
            }
        }
    }

    fn finish(mut self) -> (Cluster, Vec<Report>) {
        for status in self.statuses {
            // A status without its pod has no effect yet.
            if let Some(pod) = self.cluster.pods.get_mut(&status.id) {
                pod.addresses = status.addresses.unwrap_or_else(|| pod.addresses.clone());
                pod.finished = status.finished.unwrap_or(pod.finished);
                pod.uid = status.uid.unwrap_or_else(|| pod.uid.clone());
            }
        }
        let pods = self.cluster.pods.keys().map(|it| it.namespace.as_str());
        let policies = self.cluster.policies.keys().map(|it| it.namespace.as_str());
        let services = self.cluster.services.keys().map(|it| it.namespace.as_str());
        for name in pods.chain(policies).chain(services) {
            if !self.cluster.namespaces.contains_key(name) {
                let implicit = Namespace::new(name, Labels::new());
                self.cluster.namespaces.insert(name.to_owned(), implicit);
            }
        }
        (self.cluster, self.reports)
    }
}

/// The changes from one cluster to another. Namespaces come before their contents and policies go
/// last, so that no intermediate state allows more than both ends do.
pub(super) fn changes(from: &Cluster, to: &Cluster) -> Vec<Change> {
    let mut found = Vec::new();
    let put = differing(&from.namespaces, &to.namespaces);
    found.extend(put.map(Change::Namespace));
    found.extend(gone(&from.pods, &to.pods).map(Change::PodGone));
    found.extend(differing(&from.pods, &to.pods).map(Change::Pod));
    found.extend(gone(&from.services, &to.services).map(Change::ServiceGone));
    found.extend(differing(&from.services, &to.services).map(Change::Service));
    found.extend(differing(&from.policies, &to.policies).map(Change::Policy));
    found.extend(gone(&from.namespaces, &to.namespaces).map(Change::NamespaceGone));
    found.extend(gone(&from.policies, &to.policies).map(Change::PolicyGone));
    found
}

fn differing<'a, K: Ord, V: PartialEq + Clone>(
    from: &'a BTreeMap<K, V>,
    to: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = V> + 'a {
    to.iter().filter(|(key, it)| from.get(key) != Some(it)).map(|(_, it)| it.clone())
}

fn gone<'a, K: Ord + Clone, V>(
    from: &'a BTreeMap<K, V>,
    to: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = K> + 'a {
    from.keys().filter(|key| !to.contains_key(key)).cloned()
}
