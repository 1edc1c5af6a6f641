//! The connections that a change opens and closes, as a document.

use std::fmt::{self, Write as _};

use enforcer_core::explain::{self, Difference, Opened};
use ipnet::IpNet;
use serde::Serialize;

use super::state::State;

/// A changed connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The workload or the addresses that open it.
    pub from: String,
    /// The other end.
    pub to: String,
    /// The traffic, such as `TCP 80; UDP 53`, or `everything`.
    pub traffic: String,
    /// Pairs of pods, or pods, that it concerns.
    pub pairs: usize,
    /// All pairs of these ends.
    pub of: usize,
}

/// The answer of `diff`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct DiffDocument {
    /// Connections that only the new state allows.
    pub opened: Vec<Change>,
    /// Connections that only the old state allows.
    pub closed: Vec<Change>,
    /// Workloads that only the new state has; their connections are not listed.
    pub added_workloads: Vec<String>,
    /// Workloads that only the old state has; their connections are not listed.
    pub removed_workloads: Vec<String>,
    /// What the answer assumes.
    pub notes: Vec<String>,
}

/// Compares two states. If one has no pods, it is about the other's pods, namespaces and Services:
/// a folder of policies alone can be compared with a cluster.
#[must_use]
pub fn compare(mut old: State, mut new: State, pod_cidr: Option<IpNet>) -> DiffDocument {
    let mut notes = Vec::new();
    if old.cluster.pods.is_empty() && !new.cluster.pods.is_empty() {
        borrow(&mut old, &new);
        notes.push("OLD has no pods: those of NEW are taken".to_owned());
    } else if new.cluster.pods.is_empty() && !old.cluster.pods.is_empty() {
        borrow(&mut new, &old);
        notes.push("NEW has no pods: those of OLD are taken".to_owned());
    } else if old.cluster.pods.is_empty() {
        notes.push("neither side has pods: there is nothing to compare".to_owned());
    }
    old.assume_both(&mut new, pod_cidr);
    if !old.assumed.is_empty() && (old.has_blocks() || new.has_blocks()) {
        let count = old.assumed.len();
        notes.push(format!(
            "pods without an address yet: {count}; addresses of --pod-cidr are assumed, which matters \
             for ipBlock only"
        ));
    }
    let mut workloads = old.workloads.clone();
    workloads.extend(new.workloads.clone());
    let diff = explain::diff(&old.cluster, &new.cluster, &workloads);
    let names = |list: &[explain::Workload]| list.iter().map(ToString::to_string).collect();
    DiffDocument {
        opened: changes(&diff.differences, |it| &it.opened),
        closed: changes(&diff.differences, |it| &it.closed),
        added_workloads: names(&diff.added),
        removed_workloads: names(&diff.removed),
        notes,
    }
}

/// Takes over pods and Services, and the namespaces that are not declared otherwise.
fn borrow(to: &mut State, from: &State) {
    to.cluster.pods.clone_from(&from.cluster.pods);
    to.cluster.services.clone_from(&from.cluster.services);
    to.workloads = from.workloads.clone();
    for (name, namespace) in &from.cluster.namespaces {
        if !to.declares_namespace(name) {
            to.cluster.namespaces.insert(name.clone(), namespace.clone());
        }
    }
}

fn changes(differences: &[Difference], of: fn(&Difference) -> &Opened) -> Vec<Change> {
    let changed = differences.iter().filter(|it| !of(it).is_empty());
    let change = |it: &Difference| Change {
        from: it.from.to_string(),
        to: it.to.to_string(),
        traffic: of(it).to_string(),
        pairs: it.pairs,
        of: it.of,
    };
    changed.map(change).collect()
}

impl DiffDocument {
    /// Whether no connection changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.opened.is_empty() && self.closed.is_empty()
    }

    /// As Markdown, for comments on a change.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for (title, list) in [("Closed", &self.closed), ("Opened", &self.opened)] {
            if list.is_empty() {
                continue;
            }
            let _ = writeln!(
                text,
                "### {title} connections\n\n| from | to | traffic | pairs |\n|---|---|---|---|"
            );
            for it in list {
                let Change { from, to, traffic, pairs, of } = it;
                let _ = writeln!(text, "| {from} | {to} | {traffic} | {pairs} of {of} |");
            }
            let _ = writeln!(text);
        }
        if self.is_empty() {
            let _ = writeln!(text, "No connection changes.\n");
        }
        for note in self.remarks() {
            let _ = writeln!(text, "- {note}");
        }
        text
    }

    fn remarks(&self) -> Vec<String> {
        let list = |what: &str, names: &[String]| {
            (!names.is_empty()).then(|| {
                format!("{what} workloads, whose connections are not listed: {}", names.join(", "))
            })
        };
        let added = list("added", &self.added_workloads);
        let removed = list("removed", &self.removed_workloads);
        added.into_iter().chain(removed).chain(self.notes.iter().cloned()).collect()
    }
}

impl fmt::Display for DiffDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (word, list) in [("closed", &self.closed), ("opened", &self.opened)] {
            for Change { from, to, traffic, pairs, of } in list {
                write!(f, "{word}  {from} → {to}: {traffic}")?;
                if pairs != of {
                    write!(f, " ({pairs} of {of})")?;
                }
                writeln!(f)?;
            }
        }
        if self.is_empty() {
            writeln!(f, "no connection changes")?;
        }
        for note in self.remarks() {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}
