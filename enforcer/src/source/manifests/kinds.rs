//! The supported kinds.

use serde_json::Value;

/// Kinds and their supported versions.
const KINDS: [(&str, &str); 9] = [
    ("Namespace", "v1"),
    ("Pod", "v1"),
    ("Service", "v1"),
    ("NetworkPolicy", "networking.k8s.io/v1"),
    ("Deployment", "apps/v1"),
    ("ReplicaSet", "apps/v1"),
    ("StatefulSet", "apps/v1"),
    ("DaemonSet", "apps/v1"),
    ("Job", "batch/v1"),
];

/// Support of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Support {
    Full(&'static str),
    /// The kind is supported, but not in this version.
    OtherVersion(&'static str),
    None,
}

/// The kind of that name.
pub(super) fn known(kind: &str) -> Option<&'static str> {
    KINDS.iter().find(|(it, _)| *it == kind).map(|(it, _)| *it)
}

/// The supported version of a kind.
pub(super) fn version(kind: &str) -> &'static str {
    KINDS.iter().find(|(it, _)| *it == kind).map_or("", |(_, version)| version)
}

/// Distinguishes supported kinds from those with the same name in another API group.
pub(super) fn support(kind: &str, given: &str) -> Support {
    let Some(kind) = known(kind) else { return Support::None };
    let wanted = version(kind);
    // Some of these kinds were in the group `extensions` first.
    if given == wanted {
        Support::Full(kind)
    } else if group(given) == group(wanted) || group(given) == "extensions" {
        Support::OtherVersion(kind)
    } else {
        Support::None
    }
}

fn group(version: &str) -> &str {
    version.split_once('/').map_or("", |(group, _)| group)
}

/// The item kind of a list: `Some(None)` for any kind; `None` if it is not a list.
pub(super) fn list_of(kind: &str, given: &str) -> Option<Option<&'static str>> {
    let item = kind.strip_suffix("List")?;
    if item.is_empty() {
        return (given == "v1").then_some(None);
    }
    known(item).filter(|it| version(it) == given).map(Some)
}

/// Adds the fields that items of a list may leave out.
pub(super) fn complete(mut json: Value, kind: &str) -> Value {
    if let Some(object) = json.as_object_mut() {
        object.entry("kind").or_insert_with(|| kind.into());
        object.entry("apiVersion").or_insert_with(|| version(kind).into());
        // Absent and `null` mean the same to Kubernetes.
        object.retain(|_, value| !value.is_null());
    }
    json
}
