//! Discovery: the server's version, groups, resources and schemas.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::absent;
use super::kinds::{KINDS, Kind};
use super::schema;

/// The server's minor version: kubectl selects its features by it.
pub const MINOR: &str = "33";

/// The discovery document at a path, if there is one.
pub(crate) fn about(path: &str) -> Option<Value> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    Some(match parts.as_slice() {
        ["version"] => version(),
        ["api"] => {
            json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] })
        }
        ["apis"] => {
            let groups: Vec<Value> = groups().into_iter().map(group).collect();
            json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
        }
        ["apis", name] if groups().contains_key(name) => {
            let version = groups().get(name).copied().unwrap_or("v1");
            let mut group = group((name, version));
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            group
        }
        ["api", version] => resources("", version)?,
        ["apis", group, version] => resources(group, version)?,
        ["openapi", "v3"] => schemas(),
        ["openapi", "v3", "api", version] => schema("", version)?,
        ["openapi", "v3", "apis", group, version] => schema(group, version)?,
        _ => return None,
    })
}

fn version() -> Value {
    json!({
        "major": "1", "minor": MINOR, "gitVersion": format!("v1.{MINOR}.0-enforcer-tests"),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "rustc", "platform": "linux",
    })
}

/// The groups without the core group, each with its version.
fn groups() -> BTreeMap<&'static str, &'static str> {
    let own = KINDS.iter().map(|kind| (kind.group, kind.version));
    absent::versions().chain(own).filter(|(group, _)| !group.is_empty()).collect()
}

fn group((name, version): (&str, &str)) -> Value {
    let version = json!({ "groupVersion": format!("{name}/{version}"), "version": version });
    json!({ "name": name, "versions": [version], "preferredVersion": version })
}

fn of_version(group: &str, version: &str) -> Vec<&'static Kind> {
    KINDS.iter().filter(|it| (it.group, it.version) == (group, version)).copied().collect()
}

fn resources(group: &str, version: &str) -> Option<Value> {
    const VERBS: [&str; 8] =
        ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    let kinds = of_version(group, version);
    let mut resources = absent::resources(group, version);
    if kinds.is_empty() && resources.is_empty() {
        return None;
    }
    for kind in &kinds {
        let categories: &[&str] = if kind.in_all { &["all"] } else { &[] };
        resources.push(json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": VERBS, "shortNames": kind.short, "categories": categories,
        }));
        let part = |part: &str, what: &str, verbs: &[&str]| {
            json!({
                "name": format!("{}/{part}", kind.plural), "singularName": "",
                "namespaced": kind.namespaced, "kind": what, "verbs": verbs,
            })
        };
        if kind.has_status {
            resources.push(part("status", kind.kind, &["get", "patch", "update"]));
        }
        if kind.plural == "pods" {
            resources.push(part("exec", "PodExecOptions", &["create", "get"]));
            resources.push(part("portforward", "PodPortForwardOptions", &["create", "get"]));
            resources.push(part("log", "Pod", &["get"]));
        }
        if kind.has_scale() {
            resources.push(part("scale", "Scale", &["get", "patch", "update"]));
        }
    }
    let group_version =
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version,
        "resources": resources,
    }))
}

fn schemas() -> Value {
    let paths = KINDS.iter().map(|kind| {
        let path = match kind.group {
            "" => format!("api/{}", kind.version),
            group => format!("apis/{group}/{}", kind.version),
        };
        let url = format!("/openapi/v3/{path}?hash=1");
        (path, json!({ "serverRelativeURL": url }))
    });
    json!({ "paths": paths.collect::<serde_json::Map<_, _>>() })
}

/// The kinds' fields, for `kubectl explain`, and the part of the schema by which kubectl decides that the server validates fields: patches have
/// the parameter `fieldValidation`.
fn schema(group: &str, version: &str) -> Option<Value> {
    let kinds = of_version(group, version);
    kinds.first()?;
    let paths = kinds.iter().map(|kind| {
        let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
        let namespace = if kind.namespaced { "namespaces/{namespace}/" } else { "" };
        let path = format!("{root}/{version}/{namespace}{}/{{name}}", kind.plural);
        let parameter = |name: &str| {
            json!({ "name": name, "in": "query", "schema": { "type": "string", "uniqueItems": true } })
        };
        // `kubectl explain` finds a kind by an operation on its objects.
        let patch = json!({
            "operationId": format!("patch{}", kind.kind),
            "parameters": [parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation")],
            "responses": { "200": { "description": "OK" } },
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": { "group": group, "version": version, "kind": kind.kind },
        });
        (path, json!({ "patch": patch }))
    });
    let paths: serde_json::Map<_, _> = paths.collect();
    let title = json!({ "title": "Kubernetes", "version": format!("v1.{MINOR}.0") });
    Some(json!({
        "openapi": "3.0.0", "info": title, "paths": paths,
        "components": { "schemas": schema::of_version(group, version) },
    }))
}
