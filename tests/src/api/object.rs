//! Fields that every object has.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::kinds::{EVENTS, Kind};
use super::store::Key;

/// A text somewhere in an object, empty if there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The object's key.
pub(crate) fn key(object: &Value) -> Key {
    Key::new(text(object, "/metadata/namespace"), text(object, "/metadata/name"))
}

/// The object's labels; those that are no texts are left out.
pub(crate) fn labels(object: &Value) -> BTreeMap<&str, &str> {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    labels.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect()
}

/// The time of day as objects bear it: UTC, whole seconds.
pub(crate) fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

/// Sets what is not there, or is null or an empty text.
pub(crate) fn default(object: &mut Value, field: &str, value: impl Into<Value>) {
    let Some(map) = object.as_object_mut() else { return };
    let missing = |it: &Value| it.is_null() || it.as_str() == Some("");
    if map.get(field).is_none_or(missing) {
        map.insert(field.to_owned(), value.into());
    }
}

/// The field as an object, made if there is none.
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

/// The objects of a list in a field.
pub(crate) fn items_mut<'a>(
    object: &'a mut Value,
    pointer: &str,
) -> impl Iterator<Item = &'a mut Value> {
    object.pointer_mut(pointer).and_then(Value::as_array_mut).into_iter().flatten()
}

/// An object as its kind shows it, from how it is kept.
pub(crate) fn show(kind: &Kind, mut object: Value) -> Value {
    rename(&mut object, kind.renamed.iter().map(|(here, there)| (*there, *here)));
    if let Some(map) = object.as_object_mut() {
        map.insert("kind".to_owned(), kind.kind.into());
        map.insert("apiVersion".to_owned(), kind.api_version().into());
    }
    object
}

/// An object as it is kept, from how its kind shows it.
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
