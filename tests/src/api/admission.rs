//! What the server fills in, and what it does not let in.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::kinds::Kind;
use super::names::{self, Mistake};
use super::object::{self, default, items_mut, object_at};
use super::status::Refusal;
use super::store::Contents;
use super::{assign, names::is_port};

/// Fills in what the kind's objects have unless told otherwise.
pub(crate) fn fill_in(kind: &Kind, object: &mut Value) {
    match kind.plural {
        "namespaces" => namespace(object),
        "pods" => pod(object),
        "services" => service(object),
        "networkpolicies" => policy(object),
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
    default(object, "status", json!({}));
    if let Some(status) = object.get_mut("status") {
        default(status, "phase", "Pending");
        default(status, "qosClass", "BestEffort");
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

/// Checks an object that has everything filled in.
pub(crate) fn check(kind: &Kind, object: &Value) -> Result<(), Refusal> {
    let mut mistakes = Vec::new();
    names::metadata(kind, object, &mut mistakes);
    match kind.plural {
        "pods" => check_pod(object, &mut mistakes),
        "services" => check_service(object, &mut mistakes),
        "networkpolicies" => check_policy(object, &mut mistakes),
        _ => {}
    }
    if mistakes.is_empty() {
        return Ok(());
    }
    Err(Refusal::invalid(kind, object::text(object, "/metadata/name"), &mistakes))
}

/// The objects of a list, with where they are.
fn items<'a>(object: &'a Value, path: &str) -> Vec<(String, &'a Value)> {
    let list = object.pointer(&format!("/{}", path.replace('.', "/"))).and_then(Value::as_array);
    let items = list.into_iter().flatten().enumerate();
    items.map(|(index, item)| (format!("{path}[{index}]"), item)).collect()
}

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

fn check_protocol(at: &str, port: &Value, mistakes: &mut Vec<Mistake>) {
    let protocol = object::text(port, "/protocol");
    if !PROTOCOLS.contains(&protocol) {
        let why = format!(
            "Unsupported value: {protocol:?}: supported values: \"SCTP\", \"TCP\", \"UDP\""
        );
        mistakes.push((format!("{at}.protocol"), why));
    }
}

fn check_port(at: String, port: &Value, mistakes: &mut Vec<Mistake>) {
    if !is_port(port) {
        let why = format!("Invalid value: {port}: must be between 1 and 65535, inclusive");
        mistakes.push((at, why));
    }
}

fn check_pod(object: &Value, mistakes: &mut Vec<Mistake>) {
    let containers = items(object, "spec.containers");
    if containers.is_empty() {
        mistakes.push(("spec.containers".to_owned(), "Required value".to_owned()));
    }
    let mut names = BTreeSet::new();
    for (at, container) in containers {
        let name = object::text(container, "/name");
        if name.is_empty() {
            mistakes.push((format!("{at}.name"), "Required value".to_owned()));
        } else if !names.insert(name) {
            mistakes.push((format!("{at}.name"), format!("Duplicate value: {name:?}")));
        }
        if object::text(container, "/image").is_empty() {
            mistakes.push((format!("{at}.image"), "Required value".to_owned()));
        }
        for (at, port) in items(container, "ports") {
            check_port(format!("{at}.containerPort"), &port["containerPort"], mistakes);
            check_protocol(&at, port, mistakes);
        }
    }
}

fn check_service(object: &Value, mistakes: &mut Vec<Mistake>) {
    let ports = items(object, "spec.ports");
    let spec = &object["spec"];
    let is_external = object::text(spec, "/type") == "ExternalName";
    if ports.is_empty() && !is_external && object::text(spec, "/clusterIP") != "None" {
        mistakes.push(("spec.ports".to_owned(), "Required value".to_owned()));
    }
    let several = ports.len() > 1;
    for (at, port) in ports {
        if several && object::text(port, "/name").is_empty() {
            mistakes.push((format!("{at}.name"), "Required value".to_owned()));
        }
        check_port(format!("{at}.port"), &port["port"], mistakes);
        check_protocol(&at, port, mistakes);
    }
}

fn check_policy(object: &Value, mistakes: &mut Vec<Mistake>) {
    for (rules, peers) in [("spec.ingress", "from"), ("spec.egress", "to")] {
        for (at, rule) in items(object, rules) {
            for (place, port) in items(rule, "ports") {
                check_policy_port(&format!("{at}.{place}"), port, mistakes);
            }
            for (place, peer) in items(rule, peers) {
                check_peer(&format!("{at}.{place}"), peer, mistakes);
            }
        }
    }
}

fn check_policy_port(at: &str, port: &Value, mistakes: &mut Vec<Mistake>) {
    check_protocol(at, port, mistakes);
    match &port["port"] {
        Value::Null | Value::String(_) => {
            if !port["endPort"].is_null() {
                let why = format!(
                    "Invalid value: {}: may not be specified when `port` is non-numeric",
                    port["endPort"]
                );
                mistakes.push((format!("{at}.endPort"), why));
            }
        }
        number => {
            check_port(format!("{at}.port"), number, mistakes);
            if port["endPort"].as_i64().is_some_and(|end| end < number.as_i64().unwrap_or(0)) {
                let why = format!(
                    "Invalid value: {}: must be greater than or equal to `port`",
                    port["endPort"]
                );
                mistakes.push((format!("{at}.endPort"), why));
            }
        }
    }
}

fn check_peer(at: &str, peer: &Value, mistakes: &mut Vec<Mistake>) {
    let block = &peer["ipBlock"];
    let has_selector = !peer["podSelector"].is_null() || !peer["namespaceSelector"].is_null();
    if block.is_null() {
        if !has_selector {
            mistakes.push((at.to_owned(), "Required value: must specify a peer".to_owned()));
        }
        return;
    }
    if has_selector {
        let why = "Forbidden: may not specify both ipBlock and another peer";
        mistakes.push((at.to_owned(), why.to_owned()));
    }
    let cidr = object::text(block, "/cidr");
    let Ok(net) = cidr.parse::<ipnet::IpNet>() else {
        let why = format!(
            "Invalid value: {cidr:?}: must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
        );
        mistakes.push((format!("{at}.ipBlock.cidr"), why));
        return;
    };
    for (place, except) in items(block, "except") {
        let text = except.as_str().unwrap_or_default();
        let inside = text.parse::<ipnet::IpNet>();
        let is_inside =
            inside.is_ok_and(|it| net.contains(&it) && it.prefix_len() > net.prefix_len());
        if !is_inside {
            let why = format!("Invalid value: {text:?}: must be a strict subset of `cidr`");
            mistakes.push((format!("{at}.ipBlock.{place}"), why));
        }
    }
}

/// What needs a look at other objects: the namespace must be there, a Service gets addresses.
pub(crate) fn admit(
    contents: &Contents,
    kind: &'static Kind,
    object: &mut Value,
) -> Result<(), Refusal> {
    let key = object::key(object);
    if kind.namespaced {
        let of = super::store::Key::new("", key.namespace.as_str());
        let namespace = contents.get(&super::kinds::NAMESPACES, &of);
        let Some(namespace) = namespace else {
            return Err(Refusal::not_found(&super::kinds::NAMESPACES, &key.namespace));
        };
        if !namespace["metadata"]["deletionTimestamp"].is_null() {
            let why = format!(
                "unable to create new content in namespace {} because it is being terminated",
                key.namespace
            );
            return Err(Refusal::forbidden(kind, &key.name, &why));
        }
    }
    admit_change(contents, kind, object)
}

/// The same for an object that is there already.
pub(crate) fn admit_change(
    contents: &Contents,
    kind: &'static Kind,
    object: &mut Value,
) -> Result<(), Refusal> {
    if kind.plural == "services" {
        assign::addresses(contents, object)?;
    }
    Ok(())
}

/// What may not be changed in an object that is there.
pub(crate) fn check_change(kind: &Kind, before: &Value, after: &Value) -> Result<(), Refusal> {
    if kind.plural != "pods" {
        return Ok(());
    }
    let without_the_changeable = |object: &Value| {
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
    if without_the_changeable(before) == without_the_changeable(after) {
        return Ok(());
    }
    let why = "Forbidden: pod updates may not change fields other than \
        `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
        `spec.tolerations` (only additions to existing tolerations),\
        `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
    let name = object::text(after, "/metadata/name");
    Err(Refusal::invalid(kind, name, &[("spec".to_owned(), why.to_owned())]))
}
