//! No manifest requests more privileges than SECURITY.md documents.

use serde_json::{Value, json};

use crate::render::{self, containers, of_kind, strings};

/// The capabilities of the container that works on the node, in every rendering.
const CAPABILITIES: [&str; 4] = ["BPF", "NET_ADMIN", "NET_BROADCAST", "PERFMON"];

/// The capability of agents that answer denied packets.
const RAW: &str = "NET_RAW";

/// The resources that may be read, and not written.
const READ: [(&str, &str); 5] = [
    ("", "pods"),
    ("", "namespaces"),
    ("", "services"),
    ("", "nodes"),
    ("networking.k8s.io", "networkpolicies"),
];

/// Further permissions, with the component or value that needs them.
const EVENTS: [(&str, &str, &str); 1] = [("events.k8s.io", "events", "create")];
const TAINT: [(&str, &str, &str); 1] = [("", "nodes", "patch")];

/// The mounted paths of the node.
const BPFFS: &str = "/sys/fs/bpf";
const CNI_RESULTS: &str = "/var/lib/cni/results";
const NRI: [&str; 2] = ["/var/run/nri", "/var/run/netns"];

/// Whether a rendering includes this optional component.
fn has(name: &str, extra: &str) -> bool {
    name == extra || name == "all components" || name == "helm, all values"
}

/// Whether a rendering cleans up, without agents.
fn is_uninstall(name: &str) -> bool {
    name.starts_with("uninstall")
}

#[test]
fn containers_have_only_the_necessary_privileges() {
    for (name, objects) in render::everything() {
        let sets = of_kind(objects, "DaemonSet");
        assert_eq!(sets.len(), 1, "{name}");
        for container in containers(sets[0]) {
            let what = format!("{name}, {}", container["name"]);
            let context = &container["securityContext"];
            assert_eq!(context["privileged"], false, "{what}");
            assert_eq!(context["allowPrivilegeEscalation"], false, "{what}");
            assert_eq!(context["readOnlyRootFilesystem"], true, "{what}");
            assert_eq!(context["seccompProfile"], json!({"type": "RuntimeDefault"}), "{what}");
            assert!(context["appArmorProfile"].is_null(), "{what}: the runtime's default stays");
            let capabilities = &context["capabilities"];
            assert_eq!(strings(&capabilities["drop"]), ["ALL"], "{what}");
            if container["name"] == "done" {
                assert!(capabilities["add"].is_null(), "{what}");
                assert_eq!(context["runAsNonRoot"], true, "{what}");
            } else {
                let raw = has(name, "reject").then_some(RAW);
                let wanted: Vec<&str> = CAPABILITIES.into_iter().chain(raw).collect();
                assert_eq!(strings(&capabilities["add"]), wanted, "{what}");
                assert_eq!(context["runAsUser"], 0, "{what}: only user 0 gets capabilities");
            }
        }
    }
}

#[test]
fn pods_share_only_the_network_with_their_node() {
    for (name, objects) in render::everything() {
        let spec = &of_kind(objects, "DaemonSet")[0]["spec"]["template"]["spec"];
        assert_eq!(spec["hostNetwork"], true, "{name}");
        for key in ["hostPID", "hostIPC", "hostUsers", "securityContext"] {
            assert!(spec[key].is_null(), "{name}: {key}");
        }
        let volumes = spec["volumes"].as_array().unwrap();
        let paths: Vec<_> =
            volumes.iter().map(|it| it["hostPath"]["path"].as_str().unwrap()).collect();
        let more = if has(name, "nri") { NRI.as_slice() } else { &[] };
        // What is cleaned up needs no records.
        let records = (!is_uninstall(name)).then_some(CNI_RESULTS);
        let allowed = [BPFFS].into_iter().chain(records).chain(more.iter().copied());
        assert_eq!(paths, allowed.collect::<Vec<_>>(), "{name}");
        for container in containers(of_kind(objects, "DaemonSet")[0]) {
            let mounts = container["volumeMounts"].as_array().into_iter().flatten();
            for mount in mounts.filter(|it| it["mountPath"] == CNI_RESULTS) {
                assert_eq!(mount["readOnly"], true, "{name}");
            }
        }
    }
}

#[test]
fn pods_run_on_every_linux_node_and_only_there() {
    for (name, objects) in render::everything() {
        let set = of_kind(objects, "DaemonSet")[0];
        let spec = &set["spec"]["template"]["spec"];
        assert_eq!(spec["nodeSelector"]["kubernetes.io/os"], "linux", "{name}");
        assert_eq!(spec["tolerations"], json!([{"operator": "Exists"}]), "{name}");
        assert_eq!(spec["priorityClassName"], "system-node-critical", "{name}");
        let labels = &set["spec"]["template"]["metadata"]["labels"];
        for (key, value) in set["spec"]["selector"]["matchLabels"].as_object().unwrap() {
            assert_eq!(&labels[key], value, "{name}: the selector selects its own pods");
        }
        if name.starts_with("aks") {
            assert!(spec["affinity"].to_string().contains("virtual-kubelet"), "{name}");
        }
    }
}

/// The rules of all roles as (group, resource, verb).
fn granted(objects: &[Value]) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for role in of_kind(objects, "ClusterRole") {
        assert!(role["aggregationRule"].is_null());
        for rule in role["rules"].as_array().unwrap() {
            assert!(rule["nonResourceURLs"].is_null() && rule["resourceNames"].is_null(), "{rule}");
            for group in strings(&rule["apiGroups"]) {
                for resource in strings(&rule["resources"]) {
                    for verb in strings(&rule["verbs"]) {
                        all.push((group.to_owned(), resource.to_owned(), verb.to_owned()));
                    }
                }
            }
        }
    }
    all.sort();
    all
}

#[test]
fn accounts_may_read_watched_resources_only() {
    for (name, objects) in render::everything() {
        let mut expected = Vec::new();
        if !is_uninstall(name) {
            for (group, resource) in READ {
                expected.extend(["get", "list", "watch"].map(|verb| (group, resource, verb)));
            }
        }
        if has(name, "events") {
            expected.extend(EVENTS);
        }
        if has(name, "taint") {
            expected.extend(TAINT);
        }
        expected.sort_unstable();
        let granted = granted(objects);
        let granted: Vec<_> =
            granted.iter().map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str())).collect();
        assert_eq!(granted, expected, "{name}");
        for kind in ["Role", "RoleBinding", "Secret"] {
            assert!(of_kind(objects, kind).is_empty(), "{name}: {kind}");
        }
    }
}

#[test]
fn only_the_agent_gets_a_token() {
    for (name, objects) in render::everything() {
        let spec = &of_kind(objects, "DaemonSet")[0]["spec"]["template"]["spec"];
        if is_uninstall(name) {
            assert_eq!(spec["automountServiceAccountToken"], false);
            assert!(spec["serviceAccountName"].is_null());
            continue;
        }
        assert_eq!(spec["automountServiceAccountToken"], true, "{name}");
        let account = of_kind(objects, "ServiceAccount")[0];
        assert_eq!(account["automountServiceAccountToken"], false, "{name}");
        assert_eq!(account["metadata"]["name"], spec["serviceAccountName"], "{name}");
        let bindings = of_kind(objects, "ClusterRoleBinding");
        assert_eq!(bindings.len(), 1, "{name}");
        let subject = json!([{"kind": "ServiceAccount", "name": account["metadata"]["name"],
            "namespace": account["metadata"]["namespace"]}]);
        assert_eq!(bindings[0]["subjects"], subject, "{name}");
        assert_eq!(
            bindings[0]["roleRef"]["name"],
            of_kind(objects, "ClusterRole")[0]["metadata"]["name"],
            "{name}"
        );
    }
}

#[test]
fn probes_use_the_agents_address() {
    for (name, objects) in render::everything() {
        for container in containers(of_kind(objects, "DaemonSet")[0]) {
            if container["name"] != "agent" {
                continue;
            }
            let args = strings(&container["args"]);
            let metrics = args.iter().find_map(|it| it.strip_prefix("--metrics=")).unwrap();
            let port = metrics.strip_prefix("$(METRICS_ADDRESS):").unwrap();
            let address = &variable(container, "METRICS_ADDRESS")["value"];
            for (probe, path) in [
                ("startupProbe", "/healthz"),
                ("livenessProbe", "/healthz"),
                ("readinessProbe", "/readyz"),
            ] {
                let get = &container[probe]["httpGet"];
                assert_eq!(get["path"], path, "{name}: {probe}");
                assert_eq!(get["port"].to_string(), port, "{name}: {probe}");
                // Without a host the kubelet uses the pod's address, here that of the node.
                assert_eq!(&get["host"], address, "{name}: {probe}");
            }
            let listens = container["ports"].as_array().map_or(0, Vec::len);
            assert_eq!(listens, usize::from(address.is_null()), "{name}: ports");
        }
    }
}

/// A container's variable.
fn variable<'a>(container: &'a Value, name: &str) -> &'a Value {
    let all = container["env"].as_array().unwrap();
    all.iter().find(|it| it["name"] == name).unwrap()
}

#[test]
fn metrics_are_on_loopback_by_default() {
    for (name, objects) in render::everything() {
        let agents = containers(of_kind(objects, "DaemonSet")[0]);
        let Some(agent) = agents.into_iter().find(|it| it["name"] == "agent") else { continue };
        let address = variable(agent, "METRICS_ADDRESS");
        let monitored = ["metrics", "podmonitor", "podmonitor-azure", "servicemonitor"];
        if monitored.iter().any(|it| has(name, it)) {
            assert_eq!(address["valueFrom"]["fieldRef"]["fieldPath"], "status.hostIP", "{name}");
        } else {
            assert_eq!(address["value"], "127.0.0.1", "{name}");
        }
    }
}
