//! The chart and the kustomizations install the same objects.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::render::{self, COMPONENTS, OVERLAYS, VALUES};

/// The labels of helm's conventions.
const HELMS: [&str; 4] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
];

/// The objects by kind and name, without necessary differences: helm's labels, and the Namespace,
/// which helm's user creates, since a release can't be in a namespace that it creates itself.
fn comparable(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for mut object in objects {
        if object["kind"] == "Namespace" {
            continue;
        }
        if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
            for label in HELMS {
                labels.remove(label);
            }
        }
        for container in agents(&mut object) {
            // The order of variables has no meaning, and a patch moves its variables.
            if let Some(list) = container["env"].as_array_mut() {
                list.sort_by_key(|it| it["name"].to_string());
            }
        }
        all.insert(format!("{} {}", object["kind"], object["metadata"]["name"]), object);
    }
    all
}

fn agents(object: &mut Value) -> impl Iterator<Item = &mut Value> {
    let containers = object.pointer_mut("/spec/template/spec/containers");
    containers.and_then(Value::as_array_mut).into_iter().flatten()
}

#[track_caller]
fn assert_same(kustomize: Vec<Value>, helm: Vec<Value>) {
    let (kustomize, helm) = (comparable(kustomize), comparable(helm));
    let mut differences = Vec::new();
    for key in kustomize.keys().chain(helm.keys().filter(|it| !kustomize.contains_key(*it))) {
        let of = |all: &BTreeMap<String, Value>| all.get(key).cloned().unwrap_or_default();
        compare(key, &of(&kustomize), &of(&helm), &mut differences);
    }
    assert!(differences.is_empty(), "kustomize and helm differ:\n{}", differences.join("\n"));
}

/// Collects the differences of two values.
fn compare(path: &str, one: &Value, other: &Value, differences: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|it| !a.contains_key(*it))) {
                compare(&format!("{path}.{key}"), &one[key], &other[key], differences);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}[{index}]"), a, b, differences);
            }
        }
        _ if one == other => {}
        _ => {
            // A dashboard is long.
            let short = |it: &Value| it.to_string().chars().take(200).collect::<String>();
            differences.push(format!("{path}: {} and {}", short(one), short(other)));
        }
    }
}

#[test]
fn the_defaults_are_the_same() {
    assert_same(render::kustomize("overlays/generic"), render::helm(&[]));
}

#[test]
fn aks_is_the_same() {
    for overlay in OVERLAYS.iter().filter(|it| it.starts_with("aks")) {
        assert_same(render::kustomize(&format!("overlays/{overlay}")), render::helm(&["aks=true"]));
    }
}

#[test]
fn the_clean_up_is_the_same() {
    assert_same(render::kustomize("uninstall"), render::helm(&["cleanup=true"]));
}

#[test]
fn each_option_is_the_same() {
    for (component, value) in COMPONENTS.iter().zip(VALUES) {
        assert_same(render::with_components("generic", &[component]), render::helm(&[value]));
    }
    assert_same(
        render::with_components("generic", &["metrics"]),
        render::helm(&["metrics.expose=true"]),
    );
    let azure = "metrics.podMonitor.apiVersion=azmonitoring.coreos.com/v1";
    assert_same(
        render::with_components("generic", &["podmonitor-azure"]),
        render::helm(&["metrics.podMonitor.enabled=true", azure]),
    );
}

#[test]
fn options_go_together() {
    let both = COMPONENTS.iter().filter(|it| **it != "servicemonitor").copied().collect::<Vec<_>>();
    let values = VALUES.iter().filter(|it| !it.contains("serviceMonitor")).copied();
    let values: Vec<_> = values.chain(["aks=true"]).collect();
    assert_same(render::with_components("aks-azure-cni", &both), render::helm(&values));
}

#[test]
fn helm_reports_no_problems() {
    let mut command = render::tool("ENFORCER_HELM", "helm");
    let output = render::output(command.args(["lint", "--strict"]).arg(render::chart()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn misspelt_values_are_rejected() {
    for (value, named) in [
        ("updateStrategy.rollingUpdate.maxSurge=1", "maxSurge"),
        ("additionalLabels.app\\.kubernetes\\.io/name=x", "app.kubernetes.io/name"),
        ("imagePullSecrets={one}", "imagePullSecrets"),
        ("extraEnv[0].name=NODE_NAME", "extraEnv"),
        ("pools.list[0].name=canary", "nodes"),
        ("agent.unknownPot=deny", "unknownPot"),
        ("agent.unknownPod=ask", "unknownPod"),
        ("agent.flows=10", "flows"),
        ("agent.flowTimeouts.upd=10", "upd"),
        ("metrics.port=99999", "port"),
        ("metrics.podMetrics=container", "podMetrics"),
        ("image.digest=sha1:12", "digest"),
        ("resource.limits.cpu=1", "resource"),
    ] {
        let message = render::helm_refusal(&[value]);
        assert!(message.contains(named), "{value}: {message}");
    }
}

#[test]
fn the_schema_knows_every_value() {
    let values = &render::documents(&render::file("helm/enforcer/values.yaml"))[0];
    let schema: Value =
        serde_json::from_str(&render::file("helm/enforcer/values.schema.json")).unwrap();
    let names = |value: &Value| -> Vec<String> {
        value.as_object().unwrap().keys().filter(|it| *it != "global").cloned().collect()
    };
    assert_eq!(names(values), names(&schema["properties"]));
    for section in ["image", "agent", "metrics", "serviceAccount"] {
        let known = &schema["properties"][section]["properties"];
        assert_eq!(names(&values[section]), names(known), "{section}");
        assert_eq!(schema["properties"][section]["additionalProperties"], false, "{section}");
    }
}
