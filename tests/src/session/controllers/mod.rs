//! The controllers of a cluster, as far as the lab has them: workloads, endpoints, load balancers.
//!
//! They act on the objects of the API server only. What pods run belongs to [`super::declared`].

mod agents;
mod endpoints;
mod workloads;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::{Key, Kind, Refusal, Store, kinds};

pub(crate) use agents::LABEL as AGENT_LABEL;
pub(super) use agents::declare as declare_agents;

/// Brings workloads' pods and Services' addresses up to date.
pub(super) fn before_pods(store: &Store) -> Result<(), Refusal> {
    workloads::run(store)?;
    endpoints::balance(store);
    Ok(())
}

/// Writes what follows from the pods' status.
pub(super) fn after_pods(store: &Store) -> Result<(), Refusal> {
    workloads::report(store);
    endpoints::run(store)
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn key_of(object: &Value) -> Key {
    Key::new(text(object, "/metadata/namespace"), text(object, "/metadata/name"))
}

fn owner(kind: &Kind, object: &Value) -> Value {
    json!([{
        "apiVersion": kind.api_version(), "kind": kind.kind, "name": object["metadata"]["name"],
        "uid": object["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    }])
}

/// The UID of the controlling owner.
fn owner_uid(object: &Value) -> Option<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    owners.iter().find(|it| it["controller"] == true)?["uid"].as_str()
}

fn is_owned_by(object: &Value, owner: &Value) -> bool {
    owner_uid(object).is_some_and(|uid| owner["metadata"]["uid"] == uid)
}

fn is_ending(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|it| it["type"] == "Ready" && it["status"] == "True")
}

/// Whether labels contain all pairs of a map; never if there are none.
fn matches(pairs: &Value, object: &Value) -> bool {
    let labels = &object["metadata"]["labels"];
    let pairs = pairs.as_object().filter(|it| !it.is_empty());
    pairs.is_some_and(|it| it.iter().all(|(key, value)| labels[key] == *value))
}

/// A suffix of letters and digits as Kubernetes uses them in names: none that spell words.
fn suffix(of: &str, length: usize) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    // FNV-1a: the same in every build, since names are shown.
    let mut hash = of.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut text = String::new();
    for _ in 0..length {
        let index = usize::try_from(hash % 27).unwrap_or(0);
        text.push(char::from(LETTERS.get(index).copied().unwrap_or(b'b')));
        hash /= 27;
    }
    text
}

/// Creates an object, or changes it where it differs.
fn ensure(
    store: &Store,
    kind: &'static Kind,
    wanted: Value,
    parts: &[&str],
) -> Result<(), Refusal> {
    let key = key_of(&wanted);
    let is_there = store.edit(kind, &key, |object| {
        for part in parts {
            object[*part] = wanted[*part].clone();
        }
    });
    if !is_there {
        store.create(kind, &key.namespace, wanted)?;
    }
    Ok(())
}

fn pods_of(store: &Store, namespace: &str) -> Vec<Arc<Value>> {
    let pods = store.all(&kinds::PODS).into_iter();
    pods.filter(|it| text(it, "/metadata/namespace") == namespace).collect()
}

#[cfg(test)]
mod tests;
