//! Objects against the types of the Kubernetes API: no unknown fields, no values of a wrong type.

use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{render, shapes};

/// The problems of an object.
fn problems(object: &Value) -> Vec<String> {
    let named = |key: &str| object[key].as_str().unwrap_or_default();
    let metadata = &object["metadata"];
    let mut found = match (named("apiVersion"), named("kind")) {
        ("v1", "ConfigMap") => builtin::<ConfigMap>(object),
        ("v1", "Namespace") => builtin::<Namespace>(object),
        ("v1", "Pod") => builtin::<Pod>(object),
        ("v1", "Service") => builtin::<Service>(object),
        ("v1", "ServiceAccount") => builtin::<ServiceAccount>(object),
        ("apps/v1", "DaemonSet") => builtin::<DaemonSet>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => builtin::<ClusterRole>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => {
            builtin::<ClusterRoleBinding>(object)
        }
        ("rbac.authorization.k8s.io/v1", "Role") => builtin::<Role>(object),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => builtin::<RoleBinding>(object),
        (group, kind) => shapes::problems(group, kind, object),
    };
    if metadata["name"].as_str().is_none_or(str::is_empty) {
        found.push("it has no name".to_owned());
    }
    let clusterwide = ["Namespace", "ClusterRole", "ClusterRoleBinding"].contains(&named("kind"));
    if clusterwide != metadata["namespace"].is_null() {
        found.push(format!("namespace: {}", metadata["namespace"]));
    }
    found
}

fn builtin<T: DeserializeOwned + Resource>(object: &Value) -> Vec<String> {
    assert_eq!(object["apiVersion"], T::API_VERSION);
    let mut found = Vec::new();
    let read: Result<T, _> =
        serde_ignored::deserialize(object, |path| found.push(format!("no such field: {path}")));
    if let Err(error) = read {
        found.push(error.to_string());
    }
    found
}

#[test]
fn every_object_is_valid() {
    let mut wrong = Vec::new();
    for (name, objects) in render::everything() {
        assert!(!objects.is_empty(), "{name} renders nothing");
        for object in objects {
            let what = format!("{name}: {} {}", object["kind"], object["metadata"]["name"]);
            wrong.extend(problems(object).into_iter().map(|it| format!("{what}: {it}")));
        }
    }
    for object in &render::helm_tests(&[]) {
        wrong.extend(problems(object).into_iter().map(|it| format!("helm test: {it}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn objects_have_unique_names() {
    for (name, objects) in render::everything() {
        let mut keys: Vec<_> =
            objects.iter().map(|it| format!("{} {}", it["kind"], it["metadata"]["name"])).collect();
        keys.sort();
        let all = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), all, "{name}");
    }
}

#[test]
fn mistakes_are_found() {
    let good = &render::kustomize("overlays/generic");
    let good = render::of_kind(good, "DaemonSet")[0];
    assert_eq!(problems(good), [""; 0]);
    let changed = |pointer: &str, value: Value| {
        let mut object = good.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(key.to_owned(), value);
        problems(&object)
    };
    let spec = "/spec/template/spec";
    assert_eq!(changed(&format!("{spec}/hostNetwrk"), json!(true)).len(), 1);
    assert_eq!(changed(&format!("{spec}/hostNetwork"), json!("true")).len(), 1);
    assert_eq!(changed(&format!("{spec}/containers/0/livenesProbe"), json!({})).len(), 1);
    assert_eq!(changed("/metadata/namespace", json!(null)).len(), 1);
    assert_eq!(changed("/kind", json!("DaemonSett")).len(), 1);
}
