//! Deletion, with the real server's rules.

use std::sync::Arc;

use serde_json::Value;

use super::key::Key;
use super::kinds::{KINDS, Kind, NAMESPACES, PODS};
use super::object;
use super::selector::Selection;
use super::status::{Refusal, success};
use super::store::{Contents, Store};
use super::write::Manner;

/// Conditions of a deletion.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deletion {
    pub dry_run: bool,
    pub grace_seconds: Option<i64>,
    pub uid: Option<String>,
    pub version: Option<String>,
}

impl Store {
    /// Deletes an object; returns the object if it still exists, or else a `Status`.
    pub(crate) fn delete(
        &self,
        kind: &'static Kind,
        key: &Key,
        deletion: &Deletion,
        manner: &Manner,
    ) -> Result<Value, Refusal> {
        self.with(|contents| {
            let before = contents.get(kind, key);
            let before = before.ok_or_else(|| Refusal::not_found(kind, &key.name))?;
            let meta = &before["metadata"];
            let is_other = |wanted: &Option<String>, field: &str| {
                wanted.as_ref().is_some_and(|it| meta[field] != it.as_str())
            };
            if is_other(&deletion.uid, "uid") || is_other(&deletion.version, "resourceVersion") {
                let why = "the preconditions in the options do not match the object";
                return Err(Refusal::conflict(kind, &key.name, why));
            }
            let status = success(kind, &key.name, &meta["uid"]);
            if manner.dry_run {
                return Ok(status);
            }
            Ok(delete(contents, kind, key, &before, deletion.grace_seconds, manner)
                .unwrap_or(status))
        })
    }

    /// Deletes a pod as a controller does: its node ends it.
    pub fn end_pod(&self, key: &Key) {
        let manner = Manner { graceful: true, ..Manner::default() };
        // A pod that is gone has ended.
        let _ = self.delete(&PODS, key, &Deletion::default(), &manner);
    }

    /// Deletes all selected objects, and returns them.
    pub(crate) fn delete_all(
        &self,
        kind: &'static Kind,
        selection: &Selection,
        deletion: &Deletion,
        manner: &Manner,
    ) -> Vec<Value> {
        self.with(|contents| {
            let selected: Vec<_> =
                contents.values(kind).filter(|it| selection.matches(it)).cloned().collect();
            for before in selected.iter().filter(|_| !manner.dry_run) {
                let key = object::key(before);
                delete(contents, kind, &key, before, deletion.grace_seconds, manner);
            }
            selected.iter().map(|it| object::show(kind, Value::clone(it))).collect()
        })
    }
}

/// Removes an object, or only marks it if its node or a finalizer has to act first; then the marked
/// object is returned.
fn delete(
    contents: &mut Contents,
    kind: &'static Kind,
    key: &Key,
    before: &Value,
    grace_seconds: Option<i64>,
    manner: &Manner,
) -> Option<Value> {
    let is_pod_with_node =
        kind.plural == "pods" && !object::text(before, "/spec/nodeName").is_empty();
    let own = before["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    let grace = grace_seconds.unwrap_or(own);
    let waits = manner.graceful && is_pod_with_node && grace != 0;
    if !waits && !object::has_finalizers(before) {
        if kind == &NAMESPACES {
            empty(contents, &key.name);
        }
        contents.take(kind, key);
        return None;
    }
    if !before["metadata"]["deletionTimestamp"].is_null() {
        return Some(object::show(kind, before.clone()));
    }
    let mut object = before.clone();
    object["metadata"]["deletionTimestamp"] = object::now().into();
    object["metadata"]["deletionGracePeriodSeconds"] = if waits { grace } else { 0 }.into();
    let object = contents.set(kind, key.clone(), object);
    Some(object::show(kind, Arc::unwrap_or_clone(object)))
}

/// Marks a namespace as terminating and deletes everything in it.
pub(crate) fn empty(contents: &mut Contents, namespace: &str) {
    let key = Key::new("", namespace);
    if let Some(before) = contents.get(&NAMESPACES, &key) {
        let mut object = Value::clone(&before);
        object["metadata"]["deletionTimestamp"] = object::now().into();
        object["status"]["phase"] = "Terminating".into();
        contents.set(&NAMESPACES, key, object);
    }
    for kind in KINDS.into_iter().filter(|kind| kind.namespaced) {
        for key in contents.keys_in(kind, namespace) {
            contents.take(kind, &key);
        }
    }
}
