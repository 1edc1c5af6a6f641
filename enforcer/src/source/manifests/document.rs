//! Documents → objects of the model.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::object::{Item, Object, Status};
use super::reader::{Document, Reader};
use super::report::Report;
use super::text::{Place, Text};
use super::tree::{Kind, Node};
use super::yaml::Root;
use super::{kinds, workload};
use crate::source::convert::{self, Converted};
use crate::source::remark::Severity;

/// The contents of a file.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) objects: Vec<Object>,
    pub(super) reports: Vec<Report>,
}

impl Parsed {
    pub(super) fn has_errors(&self) -> bool {
        self.reports.iter().any(|it| it.severity == Severity::Error)
    }
}

/// Reads the documents of a file.
pub(super) fn read(text: &Text, roots: &[Root]) -> Parsed {
    let reader = Reader { text, reports: Vec::new() };
    let mut documents = Documents { reader, objects: Vec::new(), other_kinds: BTreeMap::new() };
    for root in roots {
        documents.document(&Document::new(root), None);
    }
    documents.report_other_kinds();
    Parsed { objects: documents.objects, reports: documents.reader.reports }
}

struct Documents<'t> {
    reader: Reader<'t>,
    objects: Vec<Object>,
    /// Kinds that are ignored, and the first place of each.
    other_kinds: BTreeMap<String, Place>,
}

impl Documents<'_> {
    fn document(&mut self, document: &Document<'_>, default_kind: Option<&'static str>) {
        match document.node.kind() {
            Kind::Scalar(Value::Null) => return,
            Kind::Mapping(entries) if entries.is_empty() => return,
            Kind::Mapping(_) => {}
            _ => {
                let message = "expected a Kubernetes object: a mapping with apiVersion and kind";
                return self.reader.error(document, "", message, None);
            }
        }
        let word = |name| document.node.get(name).and_then(Node::text);
        let (kind, version) = match (word("kind"), word("apiVersion"), default_kind) {
            (Some(kind), Some(version), _) => (kind, version),
            (kind, version, Some(default)) => {
                (kind.unwrap_or(default), version.unwrap_or(kinds::version(default)))
            }
            (kind, ..) => {
                let missing = if kind.is_none() { "kind" } else { "apiVersion" };
                let help = kind
                    .and_then(kinds::known)
                    .map(|it| format!("add `apiVersion: {}`", kinds::version(it)));
                let message = "missing: every object needs an apiVersion and a kind, as words";
                return self.reader.error(document, missing, message, help);
            }
        };
        if let Some(item_kind) = kinds::list_of(kind, version) {
            return self.list(document, item_kind);
        }
        match kinds::support(kind, version) {
            kinds::Support::Full(kind) => self.object(document, kind),
            kinds::Support::OtherVersion(kind) => {
                let message = format!("`{version}` is not a supported version of {kind}");
                let help = Some(format!("use {}", kinds::version(kind)));
                self.reader.error(document, "apiVersion", &message, help);
            }
            kinds::Support::None => {
                let place = document.place(self.reader.text, "kind");
                self.other_kinds.entry(format!("{kind} ({version})")).or_insert(place);
            }
        }
    }

    fn list(&mut self, document: &Document<'_>, kind: Option<&'static str>) {
        match document.node.get("items").map(Node::kind) {
            None | Some(Kind::Scalar(Value::Null)) => {}
            Some(Kind::List(items)) => {
                for (index, node) in items.iter().enumerate() {
                    self.document(&document.item(index, node), kind);
                }
            }
            Some(_) => self.reader.error(document, "items", "expected a list", None),
        }
    }

    fn object(&mut self, document: &Document<'_>, kind: &'static str) {
        let json = document.json(self.reader.text, kind);
        let before = self.reader.reports.len();
        let items = self.items(document, kind, &json);
        let failed = |it: &Report| it.severity == Severity::Error;
        if self.reader.reports.iter().skip(before).any(failed) {
            return;
        }
        let meta = |field| json.pointer(field).and_then(Value::as_str).filter(|it| !it.is_empty());
        let namespace = match kind {
            "Namespace" => "",
            _ => meta("/metadata/namespace").unwrap_or("default"),
        };
        let is_status = matches!(items.as_slice(), [Item::Status(_)]);
        self.objects.push(Object {
            kind: if is_status { "status of Pod" } else { kind },
            namespace: namespace.to_owned(),
            name: meta("/metadata/name").unwrap_or_default().to_owned(),
            place: document.place(self.reader.text, "metadata.name"),
            items,
        });
    }

    fn items(&mut self, document: &Document<'_>, kind: &str, json: &Value) -> Vec<Item> {
        match kind {
            "Namespace" => self.single(document, kind, json, convert::namespace, Item::Namespace),
            "Pod" => {
                let given = |field| json.get(field).is_some_and(|it| !it.is_null());
                let is_status = given("status") && !given("spec");
                let status = |pod| Item::Status(Status::new(pod, json));
                let wrap = |pod| if is_status { status(pod) } else { Item::Pod(pod) };
                self.single::<core::Pod, _>(document, kind, json, convert::pod, wrap)
            }
            "NetworkPolicy" => {
                self.single::<NetworkPolicy, _>(document, kind, json, convert::policy, Item::Policy)
            }
            "Service" => self.single(document, kind, json, convert::service, Item::Service),
            _ => workload::pods(&mut self.reader, document, kind, json).unwrap_or_default(),
        }
    }

    fn single<T: DeserializeOwned, M>(
        &mut self,
        document: &Document<'_>,
        kind: &str,
        json: &Value,
        convert: impl Fn(&T) -> Converted<M>,
        wrap: impl Fn(M) -> Item,
    ) -> Vec<Item> {
        let object = self.reader.typed::<T>(document, kind, json);
        let value = object.and_then(|it| self.reader.converted(document, convert(&it)));
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
