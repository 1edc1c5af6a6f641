//! Documents → objects of the model.

use std::collections::BTreeMap;

use k8s_openapi::Metadata;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::object::{Item, Object, Status};
use super::reader::{Document, Reader};
use super::report::Report;
use super::text::{Place, Text};
use super::tree::{Kind, Node};
use super::yaml::Root;
use super::{kinds, workload};
use crate::source::convert::{self, Converted, Naming};
use crate::source::remark::Severity;

/// The contents of a file.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// The objects without errors.
    pub(super) objects: Vec<Object>,
    /// The stand-ins of policies with errors: they isolate the selected pods and allow nothing.
    pub(super) closed: Vec<Object>,
    /// What the documents declare, objects of other kinds included; only where it was asked for.
    pub(super) declarations: Vec<Declaration>,
    pub(super) reports: Vec<Report>,
}

/// A declared object as it is written.
#[derive(Debug)]
pub(super) struct Declaration {
    /// The index of its document.
    pub(super) root: usize,
    /// What its paths begin with in that document: `items[0].`, or nothing.
    pub(super) prefix: String,
    pub(super) kind: String,
    pub(super) version: String,
    /// The object; `null` stands where it is written.
    pub(super) json: Value,
}

impl Parsed {
    pub(super) fn has_errors(&self) -> bool {
        self.reports.iter().any(|it| it.severity == Severity::Error)
    }
}

/// Reads the documents of a file; keeps the declarations if `keep`.
pub(super) fn read(text: &Text, roots: &[Root], keep: bool) -> Parsed {
    let reader = Reader { text, reports: Vec::new() };
    let (parsed, other_kinds) = (Parsed::default(), BTreeMap::new());
    let mut documents = Documents { reader, parsed, keep, root: 0, other_kinds };
    for (index, root) in roots.iter().enumerate() {
        documents.root = index;
        let before = documents.reader.reports.len();
        documents.document(&Document::new(root), None);
        if root.failed {
            // The error of its YAML explains others.
            documents.reader.reports.truncate(before);
        }
    }
    documents.report_other_kinds();
    Parsed { reports: documents.reader.reports, ..documents.parsed }
}

struct Documents<'t> {
    reader: Reader<'t>,
    parsed: Parsed,
    /// Whether declarations are kept.
    keep: bool,
    /// The index of the current document.
    root: usize,
    /// Kinds that are ignored, and the first place of each.
    other_kinds: BTreeMap<String, Place>,
}

impl Documents<'_> {
    fn document(&mut self, document: &Document<'_>, default_kind: Option<&'static str>) {
        match document.node.kind() {
            Kind::Scalar(Value::Null) if document.prefix().is_empty() => return,
            Kind::Mapping(_) => {}
            _ => {
                let message = "expected a Kubernetes object: a mapping with apiVersion and kind";
                return self.reader.error(document, "", message, None);
            }
        }
        let word = |name| document.node.get(name).and_then(Node::text);
        let items = || matches!(document.node.get("items").map(Node::kind), Some(Kind::List(_)));
        let (kind, version) = match (word("kind"), word("apiVersion"), default_kind) {
            (Some(kind), Some(version), _) => (kind, version),
            // kubectl takes everything with items for a list.
            (Some(kind), None, _) if items() && kinds::known(kind).is_none() => (kind, ""),
            (None, None, Some(default)) => (default, kinds::version(default)),
            _ if self.is_kustomization(document) => {
                return self.keep(document, "Kustomization", "kustomize.config.k8s.io/v1beta1");
            }
            (kind, ..) => {
                let missing = if kind.is_none() { "kind" } else { "apiVersion" };
                let help = kind
                    .and_then(kinds::known)
                    .map(|it| format!("add `apiVersion: {}`", kinds::version(it)));
                let is_policy =
                    kind.is_none() && word("apiVersion") == Some(kinds::version("NetworkPolicy"));
                let help = help.or(is_policy.then(|| "add `kind: NetworkPolicy`".to_owned()));
                let message = "missing: every object needs an apiVersion and a kind, as words";
                return self.reader.error(document, missing, message, help);
            }
        };
        let is_list = kinds::known(kind).is_none() && items();
        let item_kind = kinds::list_of(kind, version).or_else(|| is_list.then_some(None));
        if let Some(item_kind) = item_kind {
            if !document.prefix().is_empty() {
                let help = Some("move its items into the outer list".to_owned());
                return self.reader.error(document, "", "kubectl reads no list in a list", help);
            }
            return self.list(document, item_kind);
        }
        self.keep(document, kind, version);
        let before = self.reader.reports.len();
        match kinds::support(kind, version) {
            kinds::Support::Full(kind) => self.object(document, kind, before),
            kinds::Support::Wrong(wrong) => {
                self.reader.error(document, wrong.field, &wrong.message, wrong.help);
                // What a policy selects is isolated, whatever its kind is called.
                if let Some(kind) = wrong.kind {
                    self.object(document, kind, before);
                }
            }
            kinds::Support::OtherPolicy => {
                let message = format!("{kind} ({version}) is NOT enforced: only NetworkPolicy is");
                let help =
                    format!("write it as {}, kind NetworkPolicy", kinds::version("NetworkPolicy"));
                self.reader.warning(document, "kind", &message, Some(help));
            }
            kinds::Support::None => {
                let place = document.place(self.reader.text, "kind");
                self.other_kinds.entry(format!("{kind} ({version})")).or_insert(place);
            }
        }
    }

    /// Kustomize's own file may leave out kind and API version.
    fn is_kustomization(&self, document: &Document<'_>) -> bool {
        let stem = self.reader.text.file.file_stem();
        stem.is_some_and(|it| it.eq_ignore_ascii_case("kustomization"))
            && document.node.get("kind").is_none()
            && document.node.get("apiVersion").is_none()
    }

    fn keep(&mut self, document: &Document<'_>, kind: &str, version: &str) {
        if self.keep {
            self.parsed.declarations.push(Declaration {
                root: self.root,
                prefix: document.prefix().to_owned(),
                kind: kind.to_owned(),
                version: version.to_owned(),
                json: document.raw(self.reader.text),
            });
        }
    }

    fn list(&mut self, document: &Document<'_>, kind: Option<&'static str>) {
        match document.node.get("items").map(Node::kind) {
            Some(Kind::List(items)) => {
                for (index, node) in items.iter().enumerate() {
                    self.document(&document.item(index, node), kind);
                }
            }
            _ => {
                let help = Some("for a list without items, write `items: []`".to_owned());
                self.reader.error(document, "items", "expected a list", help);
            }
        }
    }

    /// Reads an object. Reports from index `before` on are about it.
    fn object(&mut self, document: &Document<'_>, kind: &'static str, before: usize) {
        let mut json = document.json(self.reader.text, kind);
        let mut items = self.items(document, kind, &mut json);
        let failed = |it: &Report| it.severity == Severity::Error;
        let failed = document.failed() || self.reader.reports.iter().skip(before).any(failed);
        let place = document.place(self.reader.text, "metadata.name");
        if failed && kind == "NetworkPolicy" {
            let file = self.reader.text.file.file_name().unwrap_or_default();
            let unnamed = format!("({}:{})", file.display(), place.line);
            items = vec![Item::Policy(convert::closed_policy_of(&json, &unnamed))];
        } else if failed {
            return;
        }
        let object = Object::new(kind, &json, place, items);
        if failed {
            self.parsed.closed.push(object);
        } else {
            self.parsed.objects.push(object);
        }
    }

    fn items(&mut self, document: &Document<'_>, kind: &str, json: &mut Value) -> Vec<Item> {
        match kind {
            "Namespace" => self.single(document, kind, json, convert::namespace, Item::Namespace),
            "Pod" => {
                let given = |field| json.get(field).is_some_and(|it| !it.is_null());
                let is_status = given("status") && !given("spec");
                let pods =
                    self.single::<core::Pod, _, _>(document, kind, json, convert::pod, |it| it);
                let status = |pod| Item::Status(Status::new(pod, json));
                let wrap = |pod| if is_status { status(pod) } else { Item::Pod(pod) };
                pods.into_iter().map(wrap).collect()
            }
            "NetworkPolicy" => {
                let convert = |it: &NetworkPolicy| convert::policy(it).as_new();
                self.single::<NetworkPolicy, _, _>(document, kind, json, convert, Item::Policy)
            }
            "Service" => self.single(document, kind, json, convert::service, Item::Service),
            _ => workload::pods(&mut self.reader, document, kind, json).unwrap_or_default(),
        }
    }

    fn single<T: DeserializeOwned + Metadata<Ty = ObjectMeta>, M, I>(
        &mut self,
        document: &Document<'_>,
        kind: &str,
        json: &mut Value,
        convert: impl Fn(&T) -> Converted<M>,
        wrap: impl Fn(M) -> I,
    ) -> Vec<I> {
        let Some(object) = self.reader.typed::<T>(document, kind, json) else { return Vec::new() };
        let naming = match kind {
            "Namespace" | "Service" => Naming::Label,
            _ => Naming::Subdomain,
        };
        self.reader.metadata(document, kind, object.metadata(), naming);
        let value = self.reader.converted(document, convert(&object));
        value.map(wrap).into_iter().collect()
    }

    fn report_other_kinds(&mut self) {
        let Some(&place) = self.other_kinds.values().min_by_key(|it| it.start) else { return };
        let kinds = self.other_kinds.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let message = format!("not needed for network policy, ignored: {kinds}");
        let report = Report::new(self.reader.text, place, Severity::Notice, message);
        self.reader.reports.push(report.at("kind"));
    }
}
