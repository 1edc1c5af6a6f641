//! Declared objects.

use std::net::IpAddr;

use serde_json::Value;

use super::text::Place;
use enforcer_core::model;

/// A declared object, and where it is declared.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) kind: &'static str,
    /// Empty for namespaces.
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) items: Vec<Item>,
}

impl Object {
    /// An object of this kind, as this JSON declares it.
    pub(super) fn new(kind: &'static str, json: &Value, place: Place, items: Vec<Item>) -> Self {
        let meta = |field| json.pointer(field).and_then(Value::as_str).filter(|it| !it.is_empty());
        let namespace = match kind {
            "Namespace" => "",
            _ => meta("/metadata/namespace").unwrap_or("default"),
        };
        let name = meta("/metadata/name").unwrap_or_default().to_owned();
        let is_status = matches!(items.as_slice(), [Item::Status(_)]);
        let kind = if is_status { "status of Pod" } else { kind };
        Self { kind, namespace: namespace.to_owned(), name, place, items }
    }

    /// Kind, namespace and name.
    pub(super) fn key(&self) -> (&'static str, &str, &str) {
        (self.kind, &self.namespace, &self.name)
    }
}

/// A part of the model that an object declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Namespace(model::Namespace),
    Pod(model::Pod),
    /// The status of a pod that another document declares.
    Status(Status),
    Policy(model::Policy),
    Service(model::Service),
}

/// The status of a pod; `None` for what the document leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) id: model::PodId,
    pub(super) uid: Option<model::Uid>,
    pub(super) addresses: Option<model::SharedSet<IpAddr>>,
    pub(super) finished: Option<bool>,
}

impl Status {
    pub(super) fn new(pod: model::Pod, json: &Value) -> Self {
        let given = |field| json.pointer(field).is_some_and(|it| !it.is_null());
        Self {
            id: pod.id,
            uid: given("/metadata/uid").then_some(pod.uid),
            addresses: (given("/status/podIPs") || given("/status/podIP")).then_some(pod.addresses),
            finished: given("/status/phase").then_some(pod.finished),
        }
    }
}
