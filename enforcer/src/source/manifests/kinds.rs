//! The kinds that are read.

use serde_json::Value;

/// Kinds and their versions.
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

/// What a kind is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    Ours(&'static str),
    /// One of ours by name and group, in a version that isn't read.
    OtherVersion(&'static str),
    Other,
}

/// The kind of that name.
pub(super) fn known(kind: &str) -> Option<&'static str> {
    KINDS.iter().find(|(it, _)| *it == kind).map(|(it, _)| *it)
}

/// The version of a kind that is read.
pub(super) fn version(kind: &str) -> &'static str {
    KINDS.iter().find(|(it, _)| *it == kind).map_or("", |(_, version)| version)
}

/// Tells our kinds from those that only share the name, e.g. of another API group.
pub(super) fn judge(kind: &str, given: &str) -> Judgement {
    let Some(kind) = known(kind) else { return Judgement::Other };
    let wanted = version(kind);
    // These kinds began their life in the group `extensions`.
    if given == wanted {
        Judgement::Ours(kind)
    } else if group(given) == group(wanted) || group(given) == "extensions" {
        Judgement::OtherVersion(kind)
    } else {
        Judgement::Other
    }
}

fn group(version: &str) -> &str {
    version.split_once('/').map_or("", |(group, _)| group)
}

/// Whether it is a list: `Some(None)` of anything, `Some(Some(kind))` of that kind.
pub(super) fn list_of(kind: &str, given: &str) -> Option<Option<&'static str>> {
    let item = kind.strip_suffix("List")?;
    if item.is_empty() {
        return (given == "v1").then_some(None);
    }
    known(item).filter(|it| version(it) == given).map(Some)
}

/// Fills in what items of a list may leave out.
pub(super) fn complete(mut json: Value, kind: &str) -> Value {
    if let Some(object) = json.as_object_mut() {
        object.entry("kind").or_insert_with(|| kind.into());
        object.entry("apiVersion").or_insert_with(|| version(kind).into());
        // Absent and `null` mean the same to Kubernetes.
        object.retain(|_, value| !value.is_null());
    }
    json
}
