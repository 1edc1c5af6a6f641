//! Defaults and validation of a pod's `spec`, in a pod or in a template.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::names::Mistake;
use super::object::{self, default, items_mut, object_at};

/// Sets the defaults of a pod's `spec`, or of a template's.
pub(super) fn pod_spec(object: &mut Value) {
    object_at(object, "spec");
    let host_network = object.pointer("/spec/hostNetwork") == Some(&Value::Bool(true));
    if let Some(spec) = object.get_mut("spec") {
        default(spec, "restartPolicy", "Always");
        default(spec, "dnsPolicy", "ClusterFirst");
        default(spec, "schedulerName", "default-scheduler");
        default(spec, "serviceAccountName", "default");
        default(spec, "terminationGracePeriodSeconds", 30);
        default(spec, "enableServiceLinks", true);
        default(spec, "securityContext", json!({}));
    }
    for list in ["/spec/containers", "/spec/initContainers"] {
        for container in items_mut(object, list) {
            default(container, "imagePullPolicy", "IfNotPresent");
            default(container, "resources", json!({}));
            default(container, "terminationMessagePath", "/dev/termination-log");
            default(container, "terminationMessagePolicy", "File");
            for port in items_mut(container, "/ports") {
                default(port, "protocol", "TCP");
                if host_network {
                    let number = port["containerPort"].clone();
                    default(port, "hostPort", number);
                }
            }
        }
    }
}

/// The objects of a list, each with its path.
pub(super) fn items<'a>(object: &'a Value, path: &str) -> Vec<(String, &'a Value)> {
    let list = object.pointer(&format!("/{}", path.replace('.', "/"))).and_then(Value::as_array);
    let items = list.into_iter().flatten().enumerate();
    items.map(|(index, item)| (format!("{path}[{index}]"), item)).collect()
}

pub(super) fn require(object: &Value, field: &str, at: &str, mistakes: &mut Vec<Mistake>) {
    if object::text(object, &format!("/{field}")).is_empty() {
        mistakes.push((format!("{at}.{field}"), "Required value".to_owned()));
    }
}

/// Checks the containers of a pod's or a template's `spec`.
pub(super) fn check_containers(object: &Value, spec: &str, mistakes: &mut Vec<Mistake>) {
    let list = format!("{spec}.containers");
    let containers = items(object, &list);
    if containers.is_empty() {
        mistakes.push((list, "Required value".to_owned()));
    }
    let mut names = BTreeSet::new();
    for (at, container) in containers {
        require(container, "name", &at, mistakes);
        require(container, "image", &at, mistakes);
        let name = object::text(container, "/name");
        if !name.is_empty() && !names.insert(name) {
            mistakes.push((format!("{at}.name"), format!("Duplicate value: {name:?}")));
        }
    }
}
