//! Kubernetes' strategic merge patch: lists of named items are merged by name.
//!
//! The API's types define these lists (`patchMergeKey`); here are those of the server's kinds.

use serde_json::{Map, Value};

/// The field that identifies the items of a list; `""`: the items are plain values of a set.
fn merge_key(list: &str) -> Option<&'static str> {
    Some(match list {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets" => "name",
        "volumeMounts" => "mountPath",
        "ports" => "port",
        "conditions" => "type",
        "hostAliases" | "podIPs" | "hostIPs" => "ip",
        "addresses" => "address",
        "taints" => "key",
        "ownerReferences" => "uid",
        "finalizers" => "",
        _ => return None,
    })
}

/// The identity of a list's item, if it has one.
pub(super) fn name_of(item: &Value) -> Option<String> {
    let keys = ["name", "containerPort", "port", "mountPath", "type", "ip", "uid"];
    keys.iter().find_map(|key| item.get(key).map(|it| format!("{key}={it}")))
}

pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if patch.get("$patch").is_some_and(|it| it == "replace") {
        *target = Value::Object(without_directives(patch));
        return;
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return };
    if let Some(Value::Array(kept)) = patch.get("$retainKeys") {
        map.retain(|key, _| kept.iter().any(|it| it == key));
    }
    for (field, value) in patch {
        if let Some(list) = field.strip_prefix("$deleteFromPrimitiveList/") {
            if let (Some(Value::Array(items)), Some(gone)) = (map.get_mut(list), value.as_array()) {
                items.retain(|item| !gone.contains(item));
            }
        } else if field.starts_with('$') {
            // The order of lists stays.
        } else if value.is_null() {
            map.remove(field);
        } else if let (Value::Array(changes), Some(key)) = (value, merge_key(field)) {
            merge_list(map.entry(field).or_insert(Value::Array(Vec::new())), changes, key);
        } else if value.get("$patch").is_some_and(|it| it == "delete") {
            map.remove(field);
        } else {
            merge(map.entry(field).or_insert(Value::Null), value);
        }
    }
}

fn merge_list(target: &mut Value, changes: &[Value], key: &str) {
    if !target.is_array() {
        *target = Value::Array(Vec::new());
    }
    let Value::Array(items) = target else { return };
    if changes.iter().any(|it| it.get("$patch").is_some_and(|it| it == "replace")) {
        items.clear();
    }
    for change in changes {
        let directive = change.get("$patch").and_then(Value::as_str);
        if directive == Some("replace") {
            continue;
        }
        // Ports of containers and of Services have different keys.
        let key = if change.get("containerPort").is_some() { "containerPort" } else { key };
        let is_same = |item: &Value| match change.get(key) {
            _ if key.is_empty() => item == change,
            Some(value) => {
                item.get(key) == Some(value)
                    && item.get("protocol").or(change.get("protocol"))
                        == change.get("protocol").or(item.get("protocol"))
            }
            None => false,
        };
        let found = items.iter().position(is_same);
        match (found, directive) {
            (Some(index), Some("delete")) => drop(items.remove(index)),
            (None, Some("delete")) => {}
            (Some(index), _) => {
                if let Some(item) = items.get_mut(index) {
                    merge(item, change);
                }
            }
            (None, _) => {
                let mut new = Value::Null;
                merge(&mut new, change);
                items.push(new);
            }
        }
    }
}

fn without_directives(map: &Map<String, Value>) -> Map<String, Value> {
    let kept = map.iter().filter(|(key, _)| !key.starts_with('$'));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(mut target: Value, patch: &Value) -> Value {
        merge(&mut target, patch);
        target
    }

    #[test]
    fn named_things_are_merged_and_others_replaced() {
        let pod = json!({ "spec": {
            "containers": [{ "name": "a", "image": "1" }, { "name": "b", "image": "2" }],
            "args": ["x"],
        }});
        let patch = json!({ "spec": {
            "$setElementOrder/containers": [{ "name": "a" }, { "name": "c" }],
            "containers": [{ "name": "a", "image": "3" }, { "name": "c" }, { "name": "b", "$patch": "delete" }],
            "args": ["y", "z"],
        }});
        let expected = json!({ "spec": {
            "containers": [{ "name": "a", "image": "3" }, { "name": "c" }],
            "args": ["y", "z"],
        }});
        assert_eq!(merged(pod, &patch), expected);
    }

    #[test]
    fn null_removes_and_directives_act() {
        let object =
            json!({ "labels": { "a": "1", "b": "2" }, "finalizers": ["x", "y"], "z": { "k": 1 } });
        let patch = json!({
            "labels": { "a": null, "c": "3" },
            "$deleteFromPrimitiveList/finalizers": ["x"],
            "finalizers": ["y", "w"],
            "z": { "$patch": "replace", "m": 2 },
        });
        let expected =
            json!({ "labels": { "b": "2", "c": "3" }, "finalizers": ["y", "w"], "z": { "m": 2 } });
        assert_eq!(merged(object, &patch), expected);
    }

    #[test]
    fn a_services_ports_of_two_protocols_are_two() {
        let service = json!({ "ports": [{ "port": 53, "protocol": "TCP" }, { "port": 53, "protocol": "UDP" }] });
        let patch = json!({ "ports": [{ "port": 53, "protocol": "UDP", "targetPort": 5353 }] });
        let expected = json!({ "ports": [
            { "port": 53, "protocol": "TCP" },
            { "port": 53, "protocol": "UDP", "targetPort": 5353 },
        ]});
        assert_eq!(merged(service, &patch), expected);
    }
}
