//! Documents → objects of the model.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::report::Report;
use super::text::{Place, Text};
use super::tree::{Kind, Node};
use super::{fields, kinds, workload};
use crate::source::convert::{self, Converted};
use crate::source::remark::Severity;
use crate::source::typed;
use enforcer_core::model;

/// A declared object, and where.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) kind: &'static str,
    /// Empty for namespaces.
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) items: Vec<Item>,
}

/// What an object means for the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Namespace(model::Namespace),
    Pod(model::Pod),
    /// Addresses, end and uid of a pod that is declared elsewhere.
    Status(Status),
    Policy(model::Policy),
    Service(model::Service),
}

/// What a document says of the state of a pod; `None` where it says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) id: model::PodId,
    pub(super) uid: Option<String>,
    pub(super) addresses: Option<BTreeSet<IpAddr>>,
    pub(super) finished: Option<bool>,
}

impl Status {
    fn new(pod: model::Pod, json: &Value) -> Self {
        let given = |field| json.pointer(field).is_some_and(|it| !it.is_null());
        Self {
            id: pod.id,
            uid: given("/metadata/uid").then_some(pod.uid),
            addresses: (given("/status/podIPs") || given("/status/podIP")).then_some(pod.addresses),
            finished: given("/status/phase").then_some(pod.finished),
        }
    }
}

/// What a file says.
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
pub(super) fn read(text: &Text, roots: &[Node]) -> Parsed {
    let mut reader = Reader { text, parsed: Parsed::default(), other_kinds: BTreeMap::new() };
    for root in roots {
        reader.document(&Document { node: root, prefix: String::new() }, None);
    }
    reader.mention_other_kinds();
    reader.parsed
}

/// A document, or an item of a list.
pub(super) struct Document<'n> {
    pub(super) node: &'n Node,
    /// What stands before paths: `items[0].` or nothing.
    prefix: String,
}

pub(super) struct Reader<'t> {
    text: &'t Text,
    parsed: Parsed,
    /// Kinds that are left alone, and where each was first.
    other_kinds: BTreeMap<String, Place>,
}

impl Reader<'_> {
    fn document(&mut self, document: &Document<'_>, default_kind: Option<&'static str>) {
        let node = document.node;
        match &node.kind {
            Kind::Scalar(Value::Null) => return,
            Kind::Mapping(entries) if entries.is_empty() => return,
            Kind::Mapping(_) => {}
            _ => {
                let message = "expected a Kubernetes object: a mapping with apiVersion and kind";
                return self.error(document, "", message, None);
            }
        }
        let version = node.get("apiVersion").and_then(Node::text);
        let kind = node.get("kind").and_then(Node::text);
        let (kind, version) = match (kind, version, default_kind) {
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
                return self.error(document, missing, message, help);
            }
        };
        if let Some(item_kind) = kinds::list_of(kind, version) {
            return self.list(document, item_kind);
        }
        match kinds::judge(kind, version) {
            kinds::Judgement::Ours(kind) => self.object(document, kind),
            kinds::Judgement::OtherVersion(kind) => {
                let wanted = kinds::version(kind);
                let message = format!("`{version}` is no version of {kind} that is read here");
                self.error(document, "apiVersion", &message, Some(format!("use {wanted}")));
            }
            kinds::Judgement::Other => {
                let place = node.locate("kind");
                self.other_kinds.entry(format!("{kind} ({version})")).or_insert(place);
            }
        }
    }

    fn list(&mut self, document: &Document<'_>, kind: Option<&'static str>) {
        match document.node.get("items").map(|it| &it.kind) {
            None | Some(Kind::Scalar(Value::Null)) => {}
            Some(Kind::List(items)) => {
                for (index, node) in items.iter().enumerate() {
                    let prefix = format!("{}items[{index}].", document.prefix);
                    self.document(&Document { node, prefix }, kind);
                }
            }
            Some(_) => self.error(document, "items", "expected a list", None),
        }
    }

    fn object(&mut self, document: &Document<'_>, kind: &'static str) {
        let json = kinds::complete(document.node.json(), kind);
        let count = self.parsed.reports.len();
        let items = match kind {
            "Namespace" => self.single(document, kind, &json, convert::namespace, Item::Namespace),
            "Pod" => {
                let given = |field| json.get(field).is_some_and(|it| !it.is_null());
                let is_status = given("status") && !given("spec");
                let status = |pod| Item::Status(Status::new(pod, &json));
                let wrap = |pod| if is_status { status(pod) } else { Item::Pod(pod) };
                self.single::<core::Pod, _>(document, kind, &json, convert::pod, wrap)
            }
            "NetworkPolicy" => self.single::<NetworkPolicy, _>(
                document,
                kind,
                &json,
                convert::policy,
                Item::Policy,
            ),
            "Service" => self.single(document, kind, &json, convert::service, Item::Service),
            _ => workload::pods(self, document, kind, &json),
        };
        let failed = |it: &Report| it.severity == Severity::Error;
        if self.parsed.reports.iter().skip(count).any(failed) {
            return;
        }
        let meta = |field| json.pointer(field).and_then(Value::as_str).filter(|it| !it.is_empty());
        let namespace = match kind {
            "Namespace" => "",
            _ => meta("/metadata/namespace").unwrap_or("default"),
        };
        let status = matches!(items.as_slice(), [Item::Status(_)]);
        self.parsed.objects.push(Object {
            kind: if status { "status of Pod" } else { kind },
            namespace: namespace.to_owned(),
            name: meta("/metadata/name").unwrap_or_default().to_owned(),
            place: document.node.locate("metadata.name"),
            items,
        });
    }

    fn single<T: DeserializeOwned, M>(
        &mut self,
        document: &Document<'_>,
        kind: &str,
        json: &Value,
        convert: impl Fn(&T) -> Converted<M>,
        wrap: impl Fn(M) -> Item,
    ) -> Vec<Item> {
        let Some(object) = self.typed::<T>(document, kind, json) else { return Vec::new() };
        self.converted(document, convert(&object)).map(wrap).into_iter().collect()
    }

    /// Reads a Kubernetes type, telling what doesn't fit and what is unknown.
    pub(super) fn typed<T: DeserializeOwned>(
        &mut self,
        document: &Document<'_>,
        kind: &str,
        json: &Value,
    ) -> Option<T> {
        let (result, unknown) = typed::read(json);
        for path in unknown {
            self.unknown_field(document, kind, &path);
        }
        match result {
            Ok(object) => Some(object),
            Err(misfit) => {
                // As written: `yes` should become "yes", not "true".
                let written = self.text.at(document.node.locate(&misfit.path));
                let quoted = misfit.wants_quotes.then(|| format!("write it as \"{written}\""));
                self.error(document, &misfit.path, &misfit.message, misfit.help.or(quoted));
                None
            }
        }
    }

    /// In a policy a misspelt field changes what is allowed, so it is an error there; other
    /// objects may well have fields newer than this program.
    fn unknown_field(&mut self, document: &Document<'_>, kind: &str, path: &str) {
        let severity = if kind == "NetworkPolicy" { Severity::Error } else { Severity::Warning };
        let help = fields::nearest(kind, path).map(|it| format!("did you mean `{it}`?"));
        let place = document.node.locate_key(path);
        let path = format!("{}{path}", document.prefix);
        let report = Report::new(self.text, place, severity, "unknown field").at(path).help(help);
        self.parsed.reports.push(report);
    }

    /// Takes over the problems of a conversion.
    pub(super) fn converted<M>(
        &mut self,
        document: &Document<'_>,
        converted: Converted<M>,
    ) -> Option<M> {
        for it in converted.problems {
            self.report(document, it.severity, &it.path, &it.message, it.help);
        }
        converted.value
    }

    pub(super) fn error(
        &mut self,
        document: &Document<'_>,
        path: &str,
        message: &str,
        help: Option<String>,
    ) {
        self.report(document, Severity::Error, path, message, help);
    }

    fn report(
        &mut self,
        document: &Document<'_>,
        severity: Severity,
        path: &str,
        message: &str,
        help: Option<String>,
    ) {
        let place = document.node.locate(path);
        let path = format!("{}{path}", document.prefix).trim_end_matches('.').to_owned();
        let report = Report::new(self.text, place, severity, message).at(path).help(help);
        self.parsed.reports.push(report);
    }

    fn mention_other_kinds(&mut self) {
        let Some(&place) = self.other_kinds.values().min_by_key(|it| it.start) else { return };
        let kinds: BTreeSet<_> = self.other_kinds.keys().map(String::as_str).collect();
        let kinds = kinds.into_iter().collect::<Vec<_>>().join(", ");
        let message = format!("not needed for network policy, left alone: {kinds}");
        let report = Report::new(self.text, place, Severity::Notice, message).at("kind");
        self.parsed.reports.push(report);
    }
}
