//! Checks objects' fields and their types.

use k8s_openapi::api::{
    apps::v1 as apps, core::v1 as core, discovery::v1 as discovery, events::v1 as events,
    networking::v1 as networking,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::kinds::Kind;
use super::status::Refusal;

/// The treatment of unknown fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Unknown {
    /// They are removed.
    #[default]
    Ignored,
    /// They are removed and named in a warning.
    Warned,
    /// They are an error.
    Refused,
}

/// Checks an object against its kind's schema. Returns the unknown fields.
pub(crate) fn check(kind: &Kind, object: &Value) -> Result<Vec<String>, Refusal> {
    let read = match (kind.group, kind.plural) {
        ("", "namespaces") => read::<core::Namespace>,
        ("", "nodes") => read::<core::Node>,
        ("", "pods") => read::<core::Pod>,
        ("", "services") => read::<core::Service>,
        ("", "endpoints") => read::<core::Endpoints>,
        ("", "events") => read::<core::Event>,
        ("events.k8s.io", _) => read::<events::Event>,
        ("apps", "deployments") => read::<apps::Deployment>,
        ("apps", "replicasets") => read::<apps::ReplicaSet>,
        ("apps", "daemonsets") => read::<apps::DaemonSet>,
        ("discovery.k8s.io", _) => read::<discovery::EndpointSlice>,
        _ => read::<networking::NetworkPolicy>,
    };
    read(object).map_err(|error| {
        let kind_name = kind.kind;
        let message = format!(
            "{kind_name} in version \"{}\" cannot be handled as a {kind_name}: {error}",
            kind.version
        );
        Refusal::bad_request(message)
    })
}

fn read<T: DeserializeOwned>(object: &Value) -> Result<Vec<String>, serde_json::Error> {
    let mut unknown = Vec::new();
    serde_ignored::deserialize::<_, _, T>(object, |path| {
        // The path has `?` for each optional value.
        unknown.push(path.to_string().replace(".?", ""));
    })?;
    Ok(unknown)
}

/// Removes or refuses the unknown fields. Returns warnings.
pub(crate) fn prune(
    kind: &Kind,
    object: &mut Value,
    unknown: Unknown,
) -> Result<Vec<String>, Refusal> {
    let fields = check(kind, object)?;
    let warnings: Vec<String> = fields.iter().map(|it| format!("unknown field {it:?}")).collect();
    if unknown == Unknown::Refused && !warnings.is_empty() {
        let name = super::object::text(object, "/metadata/name").to_owned();
        let message = format!(
            "{} in version \"{}\" cannot be handled as a {}: strict decoding error: {}",
            kind.kind,
            kind.version,
            kind.kind,
            warnings.join(", ")
        );
        let details = serde_json::json!({ "name": name, "group": kind.group, "kind": kind.kind });
        return Err(Refusal { details, ..Refusal::bad_request(message) });
    }
    for field in &fields {
        remove(object, &field.split('.').collect::<Vec<_>>());
    }
    Ok(if unknown == Unknown::Warned { warnings } else { Vec::new() })
}

/// Removes a field. An unknown path (keys may contain dots) removes nothing.
fn remove(value: &mut Value, path: &[&str]) {
    match (path, value) {
        ([last], Value::Object(map)) => drop(map.remove(*last)),
        ([first, rest @ ..], Value::Object(map)) => {
            if let Some(inner) = map.get_mut(*first) {
                remove(inner, rest);
            }
        }
        ([first, rest @ ..], Value::Array(items)) => {
            let index = first.parse::<usize>().ok();
            if let Some(inner) = index.and_then(|index| items.get_mut(index)) {
                remove(inner, rest);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::kinds::PODS;
    use super::*;

    #[test]
    fn unknown_fields_are_named_and_removed() {
        let mut pod = json!({
            "metadata": { "name": "a" },
            "spec": { "contaners": [], "containers": [{ "name": "c", "imag": "x" }] },
        });
        let refused = prune(&PODS, &mut pod.clone(), Unknown::Refused).unwrap_err();
        assert!(
            refused.message.contains("contaners") && refused.message.contains("imag"),
            "{refused}"
        );
        let warnings = prune(&PODS, &mut pod, Unknown::Warned).unwrap();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert_eq!(pod["spec"], json!({ "containers": [{ "name": "c" }] }));
    }

    #[test]
    fn wrong_types_are_refused() {
        let pod = json!({ "metadata": { "name": "a" }, "spec": { "nodeName": 5 } });
        assert_eq!(check(&PODS, &pod).unwrap_err().code, 400);
    }
}
