//! Where objects and their fields are declared.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use enforcer_core::model::{PodId, PolicyId};

use super::file::File;
use super::object::{Item, Object};
use super::reader::Document;
use super::text::{Place, Text};
use super::tree::{Kind, Node};
use super::yaml;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Location {
    /// The file.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
}

/// The declarations of the files in effect.
#[derive(Debug, Clone, Default)]
pub struct Places {
    policies: BTreeMap<PolicyId, (Arc<Text>, Place)>,
    namespaces: BTreeMap<String, ()>,
    workloads: BTreeMap<PodId, (&'static str, String)>,
}

impl Places {
    pub(super) fn new(files: &BTreeMap<PathBuf, File>) -> Self {
        let mut places = Self::default();
        for file in files.values() {
            for held in &file.effective {
                places.add(&held.text, &held.object);
            }
        }
        places
    }

    fn add(&mut self, text: &Arc<Text>, object: &Object) {
        for item in &object.items {
            match item {
                Item::Policy(policy) => {
                    let place = (Arc::clone(text), object.place);
                    self.policies.entry(policy.id.clone()).or_insert(place);
                }
                Item::Namespace(namespace) => {
                    self.namespaces.insert(namespace.name.clone(), ());
                }
                Item::Pod(pod) => {
                    let owner = (object.kind, object.name.clone());
                    self.workloads.entry(pod.id.clone()).or_insert(owner);
                }
                Item::Status(_) | Item::Service(_) => {}
            }
        }
    }

    /// Whether a file declares the namespace. Others exist only because objects are in them.
    #[must_use]
    pub fn declares_namespace(&self, name: &str) -> bool {
        self.namespaces.contains_key(name)
    }

    /// The pods of workloads, with kind and name of the workload.
    pub fn workloads(&self) -> impl Iterator<Item = (&PodId, &'static str, &str)> {
        self.workloads.iter().map(|(pod, (kind, name))| (pod, *kind, name.as_str()))
    }

    /// Where a field of a policy is declared, such as `spec.ingress[0].from[1].podSelector`, or the
    /// nearest thing around it; `None`: no file declares the policy.
    #[must_use]
    pub fn policy(&self, id: &PolicyId, path: &str) -> Option<Location> {
        let (text, place) = self.policies.get(id)?;
        let line = field(text, id, *place, path).unwrap_or(place.line);
        Some(Location { file: text.file.clone(), line })
    }

    /// The YAML document that declares the policy, which may declare other objects, too.
    #[must_use]
    pub fn policy_text(&self, id: &PolicyId) -> Option<String> {
        let (text, place) = self.policies.get(id)?;
        Some(text.document(place.line).1.to_owned())
    }
}

/// The line of a field. Reads only the document of the policy: a file may have thousands.
fn field(text: &Text, id: &PolicyId, place: Place, path: &str) -> Option<usize> {
    let (before, source) = text.document(place.line);
    let part = Text::new(text.file.clone(), source);
    let (roots, _) = yaml::read(&part, false);
    roots.iter().find_map(|root| {
        let document = Document::new(root);
        let found = documents(&document).into_iter().find(|it| is_policy(it.node, id))?;
        Some(before + found.place(&part, path).line)
    })
}

/// The document, or the items of a list.
fn documents<'n>(document: &Document<'n>) -> Vec<Document<'n>> {
    match document.node.get("items").map(Node::kind) {
        Some(Kind::List(items)) => {
            let items = items.iter().enumerate();
            items.flat_map(|(index, it)| documents(&document.item(index, it))).collect()
        }
        _ => vec![document.clone()],
    }
}

/// Items of a list may lack their kind.
fn is_policy(node: &Node, id: &PolicyId) -> bool {
    let text = |node: &Node, name: &str| node.get(name).and_then(Node::text).map(str::to_owned);
    let Some(metadata) = node.get("metadata") else { return false };
    text(node, "kind").is_none_or(|it| it == "NetworkPolicy")
        && text(metadata, "name").is_some_and(|it| it == id.name)
        && text(metadata, "namespace").unwrap_or_else(|| "default".to_owned()) == id.namespace
}
