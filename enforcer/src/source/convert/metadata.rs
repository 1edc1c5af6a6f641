//! The metadata of a new object, as the API server validates it.
//!
//! The rules are those of `ValidateObjectMeta` (kubernetes/kubernetes,
//! `staging/src/k8s.io/apimachinery/pkg/api/validation/objectmeta.go`). Objects of the API server need
//! no such check.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{Problem, labels};

/// Bytes that all annotations of an object may have.
const MOST_ANNOTATIONS: usize = 256 << 10;

/// The form of a kind's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// A DNS name: at most 253 lower-case letters, digits, `-` and `.`.
    Subdomain,
    /// One label of a DNS name: at most 63 lower-case letters, digits and `-`.
    Label,
}

impl Naming {
    fn fits(self, name: &str) -> bool {
        match self {
            Self::Subdomain => labels::is_domain(name),
            Self::Label => name.len() <= 63 && !name.contains('.') && labels::is_domain(name),
        }
    }

    fn help(self) -> &'static str {
        match self {
            Self::Subdomain => {
                "at most 253 lower-case letters, digits, `-` and `.`, a letter or digit at both ends of \
                 each part"
            }
            Self::Label => {
                "at most 63 lower-case letters, digits and `-`, a letter or digit at both ends"
            }
        }
    }
}

/// Checks the metadata of a new object.
#[must_use]
pub fn metadata(meta: &ObjectMeta, naming: Naming) -> Vec<Problem> {
    let mut problems = Vec::new();
    names(meta, naming, &mut problems);
    if meta.generation.is_some_and(|it| it < 0) {
        problems.push(Problem::error("metadata.generation", "must not be negative"));
    }
    labels::check(&meta.labels.clone().unwrap_or_default(), "metadata.labels", &mut problems);
    annotations(meta, &mut problems);
    owners(meta.owner_references.as_deref().unwrap_or_default(), &mut problems);
    finalizers(meta.finalizers.as_deref().unwrap_or_default(), &mut problems);
    problems
}

fn names(meta: &ObjectMeta, naming: Naming, problems: &mut Vec<Problem>) {
    let mut check = |field: &str, name: Option<&str>, shown: Option<&str>, naming: Naming| {
        let Some(name) = name.filter(|it| !it.is_empty()) else { return };
        if !naming.fits(name) {
            let shown = shown.unwrap_or(name);
            let message = format!("`{shown}` is not a {field} that Kubernetes accepts");
            let problem = Problem::error(format!("metadata.{field}"), message);
            problems.push(problem.help(naming.help()));
        }
    };
    check("name", meta.name.as_deref(), None, naming);
    check("namespace", meta.namespace.as_deref(), None, Naming::Label);
    let prefix = meta.generate_name.as_deref();
    // The character before a last hyphen is not looked at otherwise (`IsValidPathSegmentPrefix`).
    let masked =
        |it: &str| if it.contains(['/', '%']) { it.to_owned() } else { without_last_hyphen(it) };
    let prefix = prefix.map(masked);
    check("generateName", prefix.as_deref(), meta.generate_name.as_deref(), naming);
}

/// The API server appends letters and digits to a prefix, so its last hyphen does not count
/// (`maskTrailingDash`, `apimachinery/pkg/api/validation/generic.go`).
fn without_last_hyphen(prefix: &str) -> String {
    match prefix.as_bytes() {
        // Bytes, not characters: of a longer character, a part stays that no name may have.
        [rest @ .., _, b'-'] => String::from_utf8_lossy(rest).into_owned() + "a",
        _ => prefix.to_owned(),
    }
}

fn annotations(meta: &ObjectMeta, problems: &mut Vec<Problem>) {
    let mut size = 0;
    for (key, value) in meta.annotations.iter().flatten() {
        size += key.len() + value.len();
        // Upper case is accepted, unlike in the prefix of a label.
        labels::check_key(&lower_case(key), &format!("metadata.annotations.{key}"), problems);
    }
    if size > MOST_ANNOTATIONS {
        let message =
            format!("{size} bytes are more than the {MOST_ANNOTATIONS} of all annotations");
        problems.push(Problem::error("metadata.annotations", message));
    }
}

/// In lower case by characters, as Go does it: a dotted capital I becomes an i.
fn lower_case(text: &str) -> String {
    text.chars().filter_map(|it| it.to_lowercase().next()).collect()
}

fn owners(owners: &[OwnerReference], problems: &mut Vec<Problem>) {
    let mut controllers = 0;
    for (index, owner) in owners.iter().enumerate() {
        let path = format!("metadata.ownerReferences[{index}]");
        let version = match owner.api_version.split('/').collect::<Vec<_>>().as_slice() {
            [version] | [_, version] => *version,
            _ => "",
        };
        for (field, value) in [
            ("apiVersion", version),
            ("kind", &owner.kind),
            ("name", &owner.name),
            ("uid", &owner.uid),
        ] {
            if value.is_empty() {
                problems.push(Problem::error(format!("{path}.{field}"), "must not be empty"));
            }
        }
        if (owner.api_version.as_str(), owner.kind.as_str()) == ("v1", "Event") {
            problems.push(Problem::error(&path, "an Event can't own objects"));
        }
        controllers += usize::from(owner.controller == Some(true));
        if controllers > 1 {
            let message = "only one owner can be the controller";
            problems.push(Problem::error(format!("{path}.controller"), message));
        }
    }
}

fn finalizers(list: &[String], problems: &mut Vec<Problem>) {
    let has = |name: &str| list.iter().any(|it| it == name);
    if has("orphan") && has("foregroundDeletion") {
        let message = "orphan and foregroundDeletion exclude each other";
        problems.push(Problem::error("metadata.finalizers", message));
    }
    for (index, name) in list.iter().enumerate() {
        let path = format!("metadata.finalizers[{index}]");
        let standard = ["kubernetes", "orphan", "foregroundDeletion"];
        if !name.contains('/') && !standard.contains(&name.as_str()) {
            let message = format!("`{name}` is neither a standard finalizer nor has it a domain");
            problems.push(Problem::error(path, message).help("write it as example.org/name"));
        } else {
            labels::check_key(name, &path, problems);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn paths(meta: Value) -> Vec<String> {
        let found = metadata(&serde_json::from_value(meta).unwrap(), Naming::Subdomain);
        found.into_iter().map(|it| it.path).collect()
    }

    #[test]
    fn good_metadata() {
        let long = ["a"; 127].join(".");
        let owner = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "a", "uid": "u"});
        for meta in [
            json!({"name": "a.b-c", "namespace": "n-1", "generation": 0}),
            json!({"name": long, "annotations": {"Example.ORG/Key": "any text", "\u{130}": ""}}),
            json!({"name": "a", "ownerReferences": [owner, owner]}),
            json!({"name": "a", "finalizers": ["orphan", "example.org/x"], "generateName": "a-"}),
            json!({"name": "a", "generateName": "--"}),
            json!({"name": "a", "generateName": "A-"}),
            json!({"name": "a", "generateName": "a".repeat(253)}),
        ] {
            assert_eq!(paths(meta.clone()), Vec::<String>::new(), "{meta}");
        }
    }

    #[test]
    fn bad_metadata() {
        let owner = |kind: &str, uid: &str| json!({"apiVersion": "v1", "kind": kind, "name": "a", "uid": uid, "controller": true});
        let list = |path: &str, count| vec![path.to_owned(); count];
        for (meta, path) in [
            (json!({"name": "a-"}), "name"),
            (json!({"name": "A"}), "name"),
            (json!({"name": "a".repeat(254)}), "name"),
            (json!({"name": "a", "namespace": "a.b"}), "namespace"),
            (json!({"name": "a", "namespace": "a".repeat(64)}), "namespace"),
            (json!({"name": "a", "generateName": "AB-"}), "generateName"),
            (json!({"name": "a", "generateName": "a."}), "generateName"),
            (json!({"name": "a", "generateName": "a/-"}), "generateName"),
            (json!({"name": "a", "generateName": "\u{2028}-"}), "generateName"),
            (json!({"name": "a", "generation": -1}), "generation"),
            (
                json!({"name": "a", "ownerReferences": [{"apiVersion": "a/b/c", "kind": "Pod", "name": "a", "uid": "u"}]}),
                "ownerReferences[0].apiVersion",
            ),
            (json!({"name": "a", "annotations": {"a b": ""}}), "annotations.a b"),
            (json!({"name": "a", "annotations": {"a": "x".repeat(262_144)}}), "annotations"),
            (json!({"name": "a", "ownerReferences": [owner("Pod", "")]}), "ownerReferences[0].uid"),
            (json!({"name": "a", "ownerReferences": [owner("Event", "u")]}), "ownerReferences[0]"),
            (json!({"name": "a", "finalizers": ["x"]}), "finalizers[0]"),
            (json!({"name": "a", "finalizers": ["orphan", "foregroundDeletion"]}), "finalizers"),
        ] {
            assert_eq!(paths(meta), list(&format!("metadata.{path}"), 1));
        }
        let two = json!({"name": "a", "ownerReferences": [owner("Pod", "u"), owner("Pod", "v")]});
        assert_eq!(paths(two), ["metadata.ownerReferences[1].controller"]);
    }

    #[test]
    fn names_of_one_label() {
        let meta = |name: &str| ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        assert_eq!(metadata(&meta("a-1"), Naming::Label), []);
        assert_eq!(metadata(&meta("a.b"), Naming::Label).len(), 1);
    }
}
