//! Create, update and patch, with the real server's rules.

use std::sync::Arc;

use serde_json::Value;

use super::admission;
use super::assign;
use super::key::Key;
use super::kinds::{Kind, PODS};
use super::object;
use super::patch::Patch;
use super::status::Refusal;
use super::store::{Contents, Store};
use super::typed::{self, Unknown};

/// The options of a write.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manner {
    /// Whether nothing is stored.
    pub dry_run: bool,
    pub unknown: Unknown,
    /// The field manager of server-side apply.
    pub manager: String,
    /// Whether only the status is written; otherwise everything but the status is.
    pub status_only: bool,
    /// Whether deleted pods wait for their node.
    pub graceful: bool,
}

/// The result of a write.
#[derive(Debug)]
pub(crate) struct Written {
    /// The object in its kind's representation.
    pub object: Value,
    pub was_created: bool,
    pub warnings: Vec<String>,
}

impl Store {
    /// Creates an object as if by a client's request: with defaults and validation.
    pub fn create(
        &self,
        kind: &'static Kind,
        namespace: &str,
        object: Value,
    ) -> Result<Value, Refusal> {
        let written = self.create_in(kind, namespace, object, &Manner::default());
        written.map(|written| written.object)
    }

    pub(crate) fn create_in(
        &self,
        kind: &'static Kind,
        namespace: &str,
        mut object: Value,
        manner: &Manner,
    ) -> Result<Written, Refusal> {
        place(kind, namespace, None, &mut object)?;
        if !object["metadata"]["resourceVersion"].is_null()
            && object["metadata"]["resourceVersion"] != ""
        {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(Refusal::bad_request(message));
        }
        let warnings = typed::prune(kind, &mut object, manner.unknown)?;
        self.with(|contents| {
            let number = contents.next_number();
            begin(kind, &mut object, number);
            let by_others = kind == &PODS || kind.group == "apps";
            if let Some(map) = object.as_object_mut().filter(|_| by_others) {
                // A pod's node writes its status, a controller a workload's. A Service keeps its
                // status: manifests may name a load balancer's address.
                map.remove("status");
            }
            admission::fill_in(kind, &mut object);
            admission::check(kind, &object)?;
            admission::check_namespace(contents, kind, &object)?;
            assign::addresses(contents, kind, &mut object)?;
            let key = object::key(&object);
            if contents.get(kind, &key).is_some() {
                return Err(Refusal::already_exists(kind, &key.name));
            }
            object::restore(kind, &mut object);
            let object = commit(contents, kind, key, object, manner);
            Ok(Written { object, was_created: true, warnings })
        })
    }

    pub(crate) fn update(
        &self,
        kind: &'static Kind,
        key: &Key,
        mut object: Value,
        manner: &Manner,
    ) -> Result<Written, Refusal> {
        place(kind, &key.namespace, Some(&key.name), &mut object)?;
        let warnings = typed::prune(kind, &mut object, manner.unknown)?;
        self.with(|contents| {
            let before = contents.get(kind, key);
            let before = before.ok_or_else(|| Refusal::not_found(kind, &key.name))?;
            object::restore(kind, &mut object);
            let object = replace(contents, kind, key, &before, object, manner)?;
            Ok(Written { object, was_created: false, warnings })
        })
    }

    pub(crate) fn patch(
        &self,
        kind: &'static Kind,
        key: &Key,
        patch: &Patch,
        manner: &Manner,
    ) -> Result<Written, Refusal> {
        let applied_by = (kind.shelf, key.clone(), manner.manager.clone());
        let written = self.with(|contents| {
            let Some(before) = contents.get(kind, key) else {
                return match patch {
                    Patch::Apply(wanted) if !manner.status_only => Ok(Err(wanted.clone())),
                    _ => Err(Refusal::not_found(kind, &key.name)),
                };
            };
            let mut object = object::show(kind, Value::clone(&before));
            patch.apply(&mut object, contents.applied.get(&applied_by))?;
            place(kind, &key.namespace, Some(&key.name), &mut object)?;
            let warnings = typed::prune(kind, &mut object, manner.unknown)?;
            object::restore(kind, &mut object);
            let object = replace(contents, kind, key, &before, object, manner)?;
            Ok(Ok(Written { object, was_created: false, warnings }))
        })?;
        let written = match written {
            Ok(written) => written,
            Err(mut wanted) => {
                place(kind, &key.namespace, Some(&key.name), &mut wanted)?;
                self.create_in(kind, &key.namespace, wanted, manner)?
            }
        };
        if let (Patch::Apply(wanted), false) = (patch, manner.dry_run) {
            self.with(|contents| contents.applied.insert(applied_by, wanted.clone()));
        }
        Ok(written)
    }
}

/// Checks that an object agrees with the path, and completes it from the path.
fn place(
    kind: &Kind,
    namespace: &str,
    name: Option<&str>,
    object: &mut Value,
) -> Result<(), Refusal> {
    let bad = |message: String| Err(Refusal::bad_request(message));
    if !object.is_object() {
        return bad("the body of the request is not an object".to_owned());
    }
    object::default(object, "kind", kind.kind);
    object::default(object, "apiVersion", kind.api_version());
    if object["kind"] != kind.kind || object["apiVersion"] != kind.api_version() {
        let (version, name) = (object::text(object, "/apiVersion"), object::text(object, "/kind"));
        return bad(format!(
            "{version} {name} in the body does not match the path, which is of {} {}",
            kind.api_version(),
            kind.kind
        ));
    }
    let Some(meta) = object::object_at(object, "metadata") else {
        return bad("metadata is not an object".to_owned());
    };
    if kind.namespaced {
        let own = meta.entry("namespace").or_insert_with(|| namespace.into());
        if own == "" || own.is_null() {
            *own = namespace.into();
        }
        if own != namespace {
            return bad("the namespace of the provided object does not match the namespace sent on the request".to_owned());
        }
    } else {
        meta.remove("namespace");
    }
    if let Some(name) = name {
        let own = meta.entry("name").or_insert_with(|| name.into());
        if own != name {
            return bad(format!(
                "the name of the object ({own}) does not match the name on the URL ({name})"
            ));
        }
    }
    Ok(())
}

/// Sets the metadata of a new object.
fn begin(kind: &Kind, object: &mut Value, number: u64) {
    let meta = &mut object["metadata"];
    if object::text(meta, "/name").is_empty() && !object::text(meta, "/generateName").is_empty() {
        meta["name"] = format!("{}{number:05x}", object::text(meta, "/generateName")).into();
    }
    meta["uid"] = format!("e4f0ce00-0000-4000-8000-{number:012x}").into();
    meta["creationTimestamp"] = object::now().into();
    if let Some(meta) = meta.as_object_mut() {
        meta.remove("deletionTimestamp");
        meta.remove("deletionGracePeriodSeconds");
        if matches!(kind.plural, "networkpolicies" | "pods") || kind.group == "apps" {
            meta.insert("generation".to_owned(), 1.into());
        }
    }
}

fn commit(
    contents: &mut Contents,
    kind: &'static Kind,
    key: Key,
    object: Value,
    manner: &Manner,
) -> Value {
    if manner.dry_run {
        return object::show(kind, object);
    }
    let object = contents.set(kind, key, object);
    object::show(kind, Arc::unwrap_or_clone(object))
}

/// Replaces an object by a changed one.
fn replace(
    contents: &mut Contents,
    kind: &'static Kind,
    key: &Key,
    before: &Value,
    mut object: Value,
    manner: &Manner,
) -> Result<Value, Refusal> {
    let meta = &mut object["metadata"];
    let stale = |field: &str| {
        let given = object::text(meta, &format!("/{field}"));
        !given.is_empty() && before["metadata"][field] != given
    };
    if stale("resourceVersion") {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        return Err(Refusal::conflict(kind, &key.name, why));
    }
    if stale("uid") {
        let why = format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            meta["uid"], before["metadata"]["uid"]
        );
        return Err(Refusal::conflict(kind, &key.name, &why));
    }
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
    ] {
        keep(meta, &before["metadata"], field);
    }
    if manner.status_only {
        let status = object["status"].take();
        object = before.clone();
        object["status"] = status;
    } else {
        if kind.has_status {
            keep(&mut object, before, "status");
        }
        if kind.plural == "services" {
            for field in ["clusterIP", "clusterIPs"] {
                if object["spec"][field].is_null() {
                    keep(&mut object["spec"], &before["spec"], field);
                }
            }
        }
        admission::fill_in(kind, &mut object);
        admission::check(kind, &object)?;
        admission::check_change(kind, before, &object)?;
        assign::addresses(contents, kind, &mut object)?;
        let generation = before["metadata"]["generation"].as_u64();
        if let Some(generation) = generation.filter(|_| object["spec"] != before["spec"]) {
            object["metadata"]["generation"] = (generation + 1).into();
        }
    }
    let is_last_finalizer = !before["metadata"]["deletionTimestamp"].is_null()
        && !object::has_finalizers(&object)
        && object::has_finalizers(before);
    if is_last_finalizer && !manner.dry_run {
        contents.take(kind, key);
        return Ok(object::show(kind, object));
    }
    if object == *before {
        // No change: watches get no event.
        return Ok(object::show(kind, object));
    }
    Ok(commit(contents, kind, key.clone(), object, manner))
}

/// Restores a field to its value before.
fn keep(object: &mut Value, before: &Value, field: &str) {
    let Some(map) = object.as_object_mut() else { return };
    match before.get(field) {
        Some(value) => drop(map.insert(field.to_owned(), value.clone())),
        None => drop(map.remove(field)),
    }
}
