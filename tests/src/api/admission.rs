//! Defaults and validation, as the real server's admission does them.

use std::collections::BTreeSet;

use enforcer::source::convert::{self, Converted};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::key::Key;
use super::kinds::{Kind, NAMESPACES};
use super::names::{self, Mistake};
use super::object::{self, default, items_mut, object_at};
use super::status::Refusal;
use super::store::Contents;
use super::workloads;

/// Sets the kind's defaults.
pub(crate) fn fill_in(kind: &Kind, object: &mut Value) {
    match kind.plural {
        "namespaces" => namespace(object),
        "pods" => pod(object),
        "services" => service(object),
        "networkpolicies" => policy(object),
        "deployments" | "replicasets" | "daemonsets" => workloads::fill_in(kind, object),
        _ => {}
    }
}

fn namespace(object: &mut Value) {
    let name = object::text(object, "/metadata/name").to_owned();
    let labels = object.get_mut("metadata").and_then(|it| object_at(it, "labels"));
    if let Some(labels) = labels {
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
    }
    default(object, "spec", json!({ "finalizers": ["kubernetes"] }));
    default(object, "status", json!({ "phase": "Active" }));
}

fn pod(object: &mut Value) {
    pod_spec(object);
    default(object, "status", json!({}));
    if let Some(status) = object.get_mut("status") {
        default(status, "phase", "Pending");
        default(status, "qosClass", "BestEffort");
    }
}

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

fn service(object: &mut Value) {
    if let Some(spec) = object.get_mut("spec") {
        default(spec, "type", "ClusterIP");
        default(spec, "sessionAffinity", "None");
        default(spec, "internalTrafficPolicy", "Cluster");
        if matches!(object::text(spec, "/type"), "NodePort" | "LoadBalancer") {
            default(spec, "externalTrafficPolicy", "Cluster");
        }
        for port in items_mut(spec, "/ports") {
            default(port, "protocol", "TCP");
            let number = port["port"].clone();
            default(port, "targetPort", number);
        }
    }
    default(object, "status", json!({ "loadBalancer": {} }));
}

fn policy(object: &mut Value) {
    let Some(spec) = object.get_mut("spec") else { return };
    default(spec, "podSelector", json!({}));
    let has_egress = spec["egress"].as_array().is_some_and(|it| !it.is_empty());
    let types = if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    if spec["policyTypes"].as_array().is_none_or(Vec::is_empty) {
        spec["policyTypes"] = types;
    }
    for rules in ["/ingress", "/egress"] {
        for rule in items_mut(spec, rules) {
            for port in items_mut(rule, "/ports") {
                default(port, "protocol", "TCP");
            }
        }
    }
}

/// Checks an object after its defaults are set.
pub(crate) fn check(kind: &Kind, object: &Value) -> Result<(), Refusal> {
    let mut mistakes = Vec::new();
    names::check(kind, object, &mut mistakes);
    match kind.plural {
        "namespaces" => check_content(object, convert::namespace, &mut mistakes),
        "pods" => {
            check_containers(object, "spec", &mut mistakes);
            check_content(object, convert::pod, &mut mistakes);
        }
        "services" => {
            check_ports(object, &mut mistakes);
            check_content(object, convert::service, &mut mistakes);
        }
        "networkpolicies" => check_content(object, convert::policy, &mut mistakes),
        "deployments" | "replicasets" | "daemonsets" => workloads::check(object, &mut mistakes),
        _ => {}
    }
    if mistakes.is_empty() {
        return Ok(());
    }
    Err(Refusal::invalid(kind, object::text(object, "/metadata/name"), &mistakes))
}

/// Reports the problems of an object that the agent can't convert: labels, addresses, ports, blocks.
fn check_content<T: DeserializeOwned, M>(
    object: &Value,
    convert: impl Fn(&T) -> Converted<M>,
    mistakes: &mut Vec<Mistake>,
) {
    // Wrong types are reported before: see `typed::check`.
    let Ok(typed) = T::deserialize(object) else { return };
    let Converted { value: None, problems } = convert(&typed) else { return };
    // The name has been checked with the server's own messages.
    let problems = problems.into_iter().filter(|it| it.path != "metadata.name");
    mistakes.extend(problems.map(|it| (it.path, format!("Invalid value: {}", it.message))));
}

/// The objects of a list, each with its path.
fn items<'a>(object: &'a Value, path: &str) -> Vec<(String, &'a Value)> {
    let list = object.pointer(&format!("/{}", path.replace('.', "/"))).and_then(Value::as_array);
    let items = list.into_iter().flatten().enumerate();
    items.map(|(index, item)| (format!("{path}[{index}]"), item)).collect()
}

fn require(object: &Value, field: &str, at: &str, mistakes: &mut Vec<Mistake>) {
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

fn check_ports(object: &Value, mistakes: &mut Vec<Mistake>) {
    let ports = items(object, "spec.ports");
    let spec = &object["spec"];
    let is_external = object::text(spec, "/type") == "ExternalName";
    if ports.is_empty() && !is_external && object::text(spec, "/clusterIP") != "None" {
        mistakes.push(("spec.ports".to_owned(), "Required value".to_owned()));
    }
    for (at, port) in ports.iter().filter(|_| ports.len() > 1) {
        require(port, "name", at, mistakes);
    }
}

/// Checks that the namespace of a new object exists and is not being deleted.
pub(crate) fn check_namespace(
    contents: &Contents,
    kind: &Kind,
    object: &Value,
) -> Result<(), Refusal> {
    let key = object::key(object);
    if !kind.namespaced {
        return Ok(());
    }
    let namespace = contents.get(&NAMESPACES, &Key::new("", key.namespace.as_str()));
    let namespace = namespace.ok_or_else(|| Refusal::not_found(&NAMESPACES, &key.namespace))?;
    if namespace["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    let why = format!(
        "unable to create new content in namespace {} because it is being terminated",
        key.namespace
    );
    Err(Refusal::forbidden(kind, &key.name, &why))
}

/// Refuses changes of immutable fields.
pub(crate) fn check_change(kind: &Kind, before: &Value, after: &Value) -> Result<(), Refusal> {
    if kind.plural != "pods" {
        return Ok(());
    }
    let immutable_part = |object: &Value| {
        let mut spec = object["spec"].clone();
        for list in ["/containers", "/initContainers"] {
            for container in items_mut(&mut spec, list) {
                container["image"] = Value::Null;
            }
        }
        for field in ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"] {
            spec[field] = Value::Null;
        }
        spec
    };
    if immutable_part(before) == immutable_part(after) {
        return Ok(());
    }
    let why = "Forbidden: pod updates may not change fields other than \
        `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
        `spec.tolerations` (only additions to existing tolerations),\
        `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
    let name = object::text(after, "/metadata/name");
    Err(Refusal::invalid(kind, name, &[("spec".to_owned(), why.to_owned())]))
}
