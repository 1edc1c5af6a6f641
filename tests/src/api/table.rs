//! Tables as `kubectl get` prints them.

use serde_json::{Value, json};

use super::kinds::Kind;
use super::object::{labels, metadata_only, text};

/// A column: its name, whether only `-o wide` shows it, and its content.
struct Column {
    name: &'static str,
    is_wide: bool,
    cell: fn(&Value) -> String,
}

const fn column(name: &'static str, cell: fn(&Value) -> String) -> Column {
    Column { name, is_wide: false, cell }
}

const fn wide(name: &'static str, cell: fn(&Value) -> String) -> Column {
    Column { name, is_wide: true, cell }
}

const NAME: Column = column("Name", |it| text(it, "/metadata/name").to_owned());
const AGE: Column = column("Age", age);

static PLAIN: [Column; 2] = [NAME, AGE];

static PODS: [Column; 9] = [
    NAME,
    column("Ready", |it| format!("{}/{}", ready(it), count(it, "/spec/containers"))),
    column("Status", pod_status),
    column("Restarts", |_| "0".to_owned()),
    AGE,
    wide("IP", |it| or_none(text(it, "/status/podIP"))),
    wide("Node", |it| or_none(text(it, "/spec/nodeName"))),
    wide("Nominated Node", |it| or_none(text(it, "/status/nominatedNodeName"))),
    wide("Readiness Gates", |_| "<none>".to_owned()),
];

static NAMESPACES: [Column; 3] =
    [NAME, column("Status", |it| text(it, "/status/phase").to_owned()), AGE];

static NODES: [Column; 6] = [
    NAME,
    column("Status", node_status),
    column("Roles", |_| "<none>".to_owned()),
    AGE,
    column("Version", |it| text(it, "/status/nodeInfo/kubeletVersion").to_owned()),
    wide("Internal-IP", |it| or_none(&internal_addresses(it))),
];

static SERVICES: [Column; 7] = [
    NAME,
    column("Type", |it| text(it, "/spec/type").to_owned()),
    column("Cluster-IP", |it| or_none(text(it, "/spec/clusterIP"))),
    column("External-IP", external_addresses),
    column("Port(s)", service_ports),
    AGE,
    wide("Selector", |it| selector(&json!({ "matchLabels": it["spec"]["selector"] }))),
];

static POLICIES: [Column; 3] =
    [NAME, column("Pod-Selector", |it| selector(&it["spec"]["podSelector"])), AGE];

/// The columns of a template's containers, with `-o wide`.
const CONTAINERS: [Column; 3] = [
    wide("Containers", |it| joined(it, "/spec/template/spec/containers", "name")),
    wide("Images", |it| joined(it, "/spec/template/spec/containers", "image")),
    wide("Selector", |it| selector(&it["spec"]["selector"])),
];

static DEPLOYMENTS: [Column; 8] = {
    let [containers, images, labels] = CONTAINERS;
    [
        NAME,
        column("Ready", |it| {
            format!("{}/{}", number(it, "/status/readyReplicas"), number(it, "/spec/replicas"))
        }),
        column("Up-to-date", |it| number(it, "/status/updatedReplicas")),
        column("Available", |it| number(it, "/status/availableReplicas")),
        AGE,
        containers,
        images,
        labels,
    ]
};

static REPLICA_SETS: [Column; 8] = {
    let [containers, images, labels] = CONTAINERS;
    [
        NAME,
        column("Desired", |it| number(it, "/spec/replicas")),
        column("Current", |it| number(it, "/status/replicas")),
        column("Ready", |it| number(it, "/status/readyReplicas")),
        AGE,
        containers,
        images,
        labels,
    ]
};

static DAEMON_SETS: [Column; 11] = {
    let [containers, images, labels] = CONTAINERS;
    [
        NAME,
        column("Desired", |it| number(it, "/status/desiredNumberScheduled")),
        column("Current", |it| number(it, "/status/currentNumberScheduled")),
        column("Ready", |it| number(it, "/status/numberReady")),
        column("Up-to-date", |it| number(it, "/status/updatedNumberScheduled")),
        column("Available", |it| number(it, "/status/numberAvailable")),
        column("Node Selector", |it| {
            selector(&json!({ "matchLabels": it["spec"]["template"]["spec"]["nodeSelector"] }))
        }),
        AGE,
        containers,
        images,
        labels,
    ]
};

static ENDPOINTS: [Column; 3] = [NAME, column("Endpoints", endpoints), AGE];

static ENDPOINT_SLICES: [Column; 5] = [
    NAME,
    column("AddressType", |it| text(it, "/addressType").to_owned()),
    column("Ports", |it| or_none(&joined(it, "/ports", "port"))),
    column("Endpoints", |it| {
        let all = list(it, "/endpoints").flat_map(|it| list(it, "/addresses")).map(plain);
        or_none(&shortened(&all.collect::<Vec<_>>()))
    }),
    AGE,
];

static EVENTS: [Column; 5] = [
    column("Last Seen", last_seen),
    column("Type", |it| text(it, "/type").to_owned()),
    column("Reason", |it| text(it, "/reason").to_owned()),
    column("Object", |it| {
        let kind = text(it, "/involvedObject/kind").to_lowercase();
        format!("{kind}/{}", text(it, "/involvedObject/name"))
    }),
    column("Message", |it| text(it, "/message").to_owned()),
];

fn columns(kind: &Kind) -> &'static [Column] {
    match kind.plural {
        "pods" => &PODS,
        "namespaces" => &NAMESPACES,
        "nodes" => &NODES,
        "services" => &SERVICES,
        "networkpolicies" => &POLICIES,
        "events" => &EVENTS,
        "deployments" => &DEPLOYMENTS,
        "replicasets" => &REPLICA_SETS,
        "daemonsets" => &DAEMON_SETS,
        "endpoints" => &ENDPOINTS,
        "endpointslices" => &ENDPOINT_SLICES,
        _ => &PLAIN,
    }
}

/// Objects as a table; `list`: the metadata of their list.
pub(crate) fn table<'a>(
    kind: &Kind,
    objects: impl Iterator<Item = &'a Value>,
    list: Option<Value>,
    names_columns: bool,
) -> Value {
    let columns = columns(kind);
    let rows = objects.map(|object| {
        let cells: Vec<String> = columns.iter().map(|it| (it.cell)(object)).collect();
        json!({ "cells": cells, "object": metadata_only(object) })
    });
    let rows: Vec<Value> = rows.collect();
    let definitions = columns.iter().filter(|_| names_columns).map(|it| {
        let format = if it.name == "Name" { "name" } else { "" };
        json!({
            "name": it.name, "type": "string", "format": format, "description": "",
            "priority": u8::from(it.is_wide),
        })
    });
    let definitions: Vec<Value> = definitions.collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list.unwrap_or(json!({})),
        "columnDefinitions": definitions, "rows": rows,
    })
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "<none>".to_owned() } else { text.to_owned() }
}

fn list<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn count(object: &Value, pointer: &str) -> usize {
    list(object, pointer).count()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn joined(object: &Value, pointer: &str, field: &str) -> String {
    list(object, pointer).map(|it| plain(&it[field])).collect::<Vec<_>>().join(",")
}

/// A number; 0 if there is none.
fn number(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_u64).unwrap_or(0).to_string()
}

/// At most three of them, as the real server shows endpoints.
fn shortened(all: &[String]) -> String {
    match all {
        [a, b, c, rest @ ..] if !rest.is_empty() => format!("{a},{b},{c} + {} more...", rest.len()),
        all => all.join(","),
    }
}

fn endpoints(object: &Value) -> String {
    let of_subset = |it: &Value| -> Vec<String> {
        let ports: Vec<String> = list(it, "/ports").map(|it| plain(&it["port"])).collect();
        let addresses = list(it, "/addresses").map(|it| plain(&it["ip"]));
        addresses
            .flat_map(|ip| ports.iter().map(move |port| format!("{ip}:{port}")).collect::<Vec<_>>())
            .collect()
    };
    or_none(&shortened(&list(object, "/subsets").flat_map(of_subset).collect::<Vec<_>>()))
}

fn internal_addresses(node: &Value) -> String {
    let own = list(node, "/status/addresses").filter(|it| it["type"] == "InternalIP");
    own.map(|it| plain(&it["address"])).collect::<Vec<_>>().join(",")
}

fn ready(pod: &Value) -> usize {
    list(pod, "/status/containerStatuses").filter(|it| it["ready"] == true).count()
}

fn pod_status(pod: &Value) -> String {
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return "Terminating".to_owned();
    }
    match text(pod, "/status/phase") {
        "Succeeded" => "Completed".to_owned(),
        "Failed" => "Error".to_owned(),
        phase => phase.to_owned(),
    }
}

fn node_status(node: &Value) -> String {
    let ready = list(node, "/status/conditions").find(|it| it["type"] == "Ready");
    match ready.map(|it| text(it, "/status")) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    }
}

fn external_addresses(service: &Value) -> String {
    let given = joined(service, "/status/loadBalancer/ingress", "ip");
    let own: Vec<String> = list(service, "/spec/externalIPs").map(plain).collect();
    let all: Vec<String> = [given].into_iter().filter(|it| !it.is_empty()).chain(own).collect();
    match (all.is_empty(), text(service, "/spec/type")) {
        (true, "LoadBalancer") => "<pending>".to_owned(),
        (true, _) => "<none>".to_owned(),
        _ => all.join(","),
    }
}

fn service_ports(service: &Value) -> String {
    let port = |it: &Value| match it["nodePort"].as_u64() {
        Some(node_port) => format!("{}:{node_port}/{}", it["port"], text(it, "/protocol")),
        None => format!("{}/{}", it["port"], text(it, "/protocol")),
    };
    or_none(&list(service, "/spec/ports").map(port).collect::<Vec<_>>().join(","))
}

fn selector(selector: &Value) -> String {
    let holder = json!({ "metadata": { "labels": selector["matchLabels"] } });
    let mut parts: Vec<String> =
        labels(&holder).iter().map(|(key, value)| format!("{key}={value}")).collect();
    for it in list(selector, "/matchExpressions") {
        let key = text(it, "/key");
        let values = list(it, "/values").map(plain).collect::<Vec<_>>().join(",");
        parts.push(match text(it, "/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    or_none(&parts.join(","))
}

fn age(object: &Value) -> String {
    since(text(object, "/metadata/creationTimestamp"))
}

fn last_seen(event: &Value) -> String {
    let times =
        ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    let time = times.iter().map(|it| text(event, it)).find(|it| !it.is_empty());
    since(time.unwrap_or_default())
}

fn since(time: &str) -> String {
    let Ok(then) = time.parse::<jiff::Timestamp>() else { return "<unknown>".to_owned() };
    let seconds = (jiff::Timestamp::now().as_second() - then.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds;
    use super::*;

    fn row(kind: &Kind, object: &Value) -> Vec<String> {
        let table = table(kind, [object].into_iter(), None, true);
        let cells = table["rows"][0]["cells"].as_array().unwrap();
        assert_eq!(cells.len(), table["columnDefinitions"].as_array().unwrap().len());
        cells.iter().map(plain).collect()
    }

    #[test]
    fn policies_show_their_selector() {
        let selector = json!({
            "matchLabels": { "app": "web" },
            "matchExpressions": [{ "key": "tier", "operator": "NotIn", "values": ["a", "b"] }],
        });
        let policy = json!({ "metadata": { "name": "p" }, "spec": { "podSelector": selector } });
        assert_eq!(row(&kinds::NETWORK_POLICIES, &policy)[..2], ["p", "app=web,tier notin (a,b)"]);
        let all = json!({ "metadata": { "name": "p" }, "spec": { "podSelector": {} } });
        assert_eq!(row(&kinds::NETWORK_POLICIES, &all)[1], "<none>");
    }

    #[test]
    fn services_show_their_addresses_and_ports() {
        let service = json!({
            "metadata": { "name": "s" },
            "spec": { "type": "LoadBalancer", "clusterIP": "10.0.0.1", "ports": [{ "port": 80, "nodePort": 30080, "protocol": "TCP" }] },
        });
        let shown = row(&kinds::SERVICES, &service);
        assert_eq!(shown[1..5], ["LoadBalancer", "10.0.0.1", "<pending>", "80:30080/TCP"]);
    }

    #[test]
    fn every_kind_has_a_row_for_empty_and_malformed_objects() {
        for kind in kinds::KINDS {
            assert!(!row(kind, &json!({ "metadata": {} })).is_empty(), "{kind}");
            assert!(
                !row(kind, &json!({ "metadata": 5, "spec": [], "status": "x" })).is_empty(),
                "{kind}"
            );
        }
    }
}
