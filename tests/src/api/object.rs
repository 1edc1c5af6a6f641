//! The fields common to all objects.

use enforcer_core::model::Labels;
use serde_json::{Map, Value, json};

use super::key::Key;
use super::kinds::{EVENTS, Kind};

/// The string at a JSON pointer; empty if there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn key(object: &Value) -> Key {
    Key::new(text(object, "/metadata/namespace"), text(object, "/metadata/name"))
}

/// The object's labels, without those that are not strings.
pub(crate) fn labels(object: &Value) -> Labels {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// The current time in the format of objects: UTC, whole seconds.
pub(crate) fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

/// Sets a field that is missing, null or an empty string.
pub(crate) fn default(object: &mut Value, field: &str, value: impl Into<Value>) {
    let Some(map) = object.as_object_mut() else { return };
    let missing = |it: &Value| it.is_null() || it.as_str() == Some("");
    if map.get(field).is_none_or(missing) {
        map.insert(field.to_owned(), value.into());
    }
}

/// The field as an object, created if missing.
pub(crate) fn object_at<'a>(
    object: &'a mut Value,
    field: &str,
) -> Option<&'a mut Map<String, Value>> {
    let entry = object.as_object_mut()?.entry(field).or_insert(Value::Null);
    if entry.is_null() {
        *entry = Value::Object(Map::new());
    }
    entry.as_object_mut()
}

pub(crate) fn items_mut<'a>(
    object: &'a mut Value,
    pointer: &str,
) -> impl Iterator<Item = &'a mut Value> {
    object.pointer_mut(pointer).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Converts a stored object to its kind's representation.
pub(crate) fn show(kind: &Kind, mut object: Value) -> Value {
    rename(&mut object, kind.renamed.iter().map(|(here, there)| (*there, *here)));
    if let Some(map) = object.as_object_mut() {
        map.insert("kind".to_owned(), kind.kind.into());
        map.insert("apiVersion".to_owned(), kind.api_version().into());
    }
    object
}

pub(crate) fn metadata_only(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"],
    })
}

/// Converts an object from its kind's representation to the stored one.
pub(crate) fn restore(kind: &Kind, object: &mut Value) {
    if !kind.renamed.is_empty() {
        rename(object, kind.renamed.iter().copied());
        object["apiVersion"] = EVENTS.api_version().into();
    }
}

fn rename<'a>(object: &mut Value, names: impl Iterator<Item = (&'a str, &'a str)>) {
    let Some(map) = object.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}

pub(crate) fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|it| !it.is_empty())
}
