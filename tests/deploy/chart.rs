//! What only the chart has: names, pools, monitors that are selected by label, `helm test`, its
//! README.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::render::{self, containers, file, of_kind, strings};

#[test]
fn without_an_image_the_message_says_what_to_do() {
    let message = render::helm_refusal(&[]);
    for part in
        ["image.repository is not set", "cargo xtask image --push", "--set image.repository="]
    {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn other_names_are_used_everywhere() {
    let objects = render::helm(&[
        "nameOverride=guard",
        "fullnameOverride=node-guard",
        "metrics.podMonitor.enabled=true",
        "metrics.serviceMonitor.enabled=true",
        "metrics.prometheusRule.enabled=true",
        "metrics.dashboard.enabled=true",
    ]);
    for object in &objects {
        let name = object["metadata"]["name"].as_str().unwrap();
        assert!(name == "node-guard" || name.starts_with("node-guard-"), "{name}");
        assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/name"], "guard", "{name}");
    }
    let selector = &of_kind(&objects, "DaemonSet")[0]["spec"]["selector"]["matchLabels"];
    assert_eq!(selector["app.kubernetes.io/name"], "guard");
    for kind in ["PodMonitor", "Service"] {
        let spec = &of_kind(&objects, kind)[0]["spec"]["selector"];
        let labels = if kind == "Service" { spec } else { &spec["matchLabels"] };
        assert_eq!(labels, selector, "{kind}");
    }
    let alerts = of_kind(&objects, "PrometheusRule")[0].to_string();
    for old in ["daemonset=\\\"enforcer", "?enforcer(-metrics)", "daemonset/enforcer"] {
        assert!(!alerts.contains(old), "an alert has the default name: {old}");
    }
    assert!(alerts.contains("node-guard(-metrics)"), "{alerts}");
}

#[test]
fn operators_that_select_by_label_find_monitors_and_alerts() {
    let mut values = Vec::new();
    for kind in ["podMonitor", "serviceMonitor", "prometheusRule"] {
        values.push(format!("metrics.{kind}.enabled=true"));
        values.push(format!("metrics.{kind}.labels.release=kube-prometheus-stack"));
        values.push(format!("metrics.{kind}.annotations.a/b=c"));
    }
    for kind in ["podMonitor", "serviceMonitor"] {
        values.push(format!("metrics.{kind}.relabelings[0].targetLabel=cluster"));
        values.push(format!("metrics.{kind}.relabelings[0].replacement=one"));
        values.push(format!("metrics.{kind}.metricRelabelings[0].regex=pod"));
        values.push(format!("metrics.{kind}.metricRelabelings[0].action=labeldrop"));
    }
    values.push("metrics.prometheusRule.alertLabels.team=network".to_owned());
    values.push("metrics.prometheusRule.alertLabels.severity=page".to_owned());
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    let objects = render::helm(&values);
    for kind in ["PodMonitor", "ServiceMonitor", "PrometheusRule"] {
        let object = of_kind(&objects, kind)[0];
        assert_eq!(object["metadata"]["labels"]["release"], "kube-prometheus-stack", "{kind}");
        assert_eq!(object["metadata"]["annotations"], json!({"a/b": "c"}), "{kind}");
        let spec = &object["spec"];
        for endpoint in [&spec["podMetricsEndpoints"][0], &spec["endpoints"][0]] {
            if endpoint.is_null() {
                continue;
            }
            assert_eq!(endpoint["relabelings"][0]["targetLabel"], "node", "{kind}");
            assert_eq!(endpoint["relabelings"][1]["targetLabel"], "cluster", "{kind}");
            assert_eq!(endpoint["metricRelabelings"][0]["action"], "labeldrop", "{kind}");
        }
    }
    let rules = &of_kind(&objects, "PrometheusRule")[0]["spec"]["groups"][0]["rules"];
    for rule in rules.as_array().unwrap() {
        assert_eq!(rule["labels"], json!({"severity": "page", "team": "network"}));
    }
}

#[test]
fn the_sidecar_finds_the_dashboard() {
    let of = |values: &[&str]| of_kind(&render::helm(values), "ConfigMap")[0].clone();
    let map = of(&["metrics.dashboard.enabled=true"]);
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let text = map["data"]["enforcer.json"].as_str().unwrap();
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(read(text), read(&file("monitoring/dashboard.json")));
    let map = of(&[
        "metrics.dashboard.enabled=true",
        "metrics.dashboard.labels.grafana_dashboard=null",
        "metrics.dashboard.labels.dashboards=yes",
        "metrics.dashboard.annotations.grafana_folder=Network",
        "metrics.dashboard.namespace=grafana",
    ]);
    let metadata = &map["metadata"];
    assert_eq!(metadata["labels"]["dashboards"], "yes");
    assert!(metadata["labels"]["grafana_dashboard"].is_null());
    assert_eq!(metadata["annotations"]["grafana_folder"], "Network");
    assert_eq!(metadata["namespace"], "grafana");
}

/// Two pools with an agent of their own.
const POOLS: [&str; 7] = [
    "aks=true",
    "pools.list[0].name=canary",
    "pools.list[0].nodes={one,two}",
    "pools.list[0].image.tag=0.2.0",
    "pools.list[0].extraArgs={--audit}",
    "pools.list[1].name=large",
    "pools.list[1].nodes={three}",
];

/// Whether a pod may be scheduled to a node with these labels, by its node affinity.
fn fits(set: &Value, labels: &BTreeMap<&str, &str>) -> bool {
    let spec = &set["spec"]["template"]["spec"];
    let affinity = &spec["affinity"]["nodeAffinity"];
    let terms = &affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    terms.as_array().unwrap().iter().any(|term| {
        term["matchExpressions"].as_array().unwrap().iter().all(|it| {
            let value = labels.get(it["key"].as_str().unwrap());
            let listed = value.is_some_and(|value| strings(&it["values"]).contains(value));
            match it["operator"].as_str().unwrap() {
                "In" => listed,
                "NotIn" => !listed,
                other => panic!("{other}"),
            }
        })
    })
}

#[test]
fn each_node_has_one_agent_whatever_its_pool() {
    for more in [
        &[][..],
        &["affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.\
        nodeSelectorTerms[0].matchExpressions[0].key=zone,\
        affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.\
        nodeSelectorTerms[0].matchExpressions[0].operator=NotIn,\
        affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.\
        nodeSelectorTerms[0].matchExpressions[0].values={x}"][..],
    ] {
        let values: Vec<_> = POOLS.iter().chain(more).copied().collect();
        let objects = render::helm(&values);
        let sets = of_kind(&objects, "DaemonSet");
        let on = |labels: &[(&'static str, &'static str)]| -> Vec<&str> {
            let labels = labels.iter().copied().collect();
            let there = sets.iter().filter(|set| fits(set, &labels));
            there.map(|set| set["metadata"]["name"].as_str().unwrap()).collect()
        };
        const POOL: &str = "kubernetes.azure.com/agentpool";
        for (pool, set) in [
            ("one", "enforcer-canary"),
            ("two", "enforcer-canary"),
            ("three", "enforcer-large"),
            ("four", "enforcer"),
        ] {
            assert_eq!(on(&[(POOL, pool)]), [set], "{pool}");
            assert_eq!(on(&[(POOL, pool), ("type", "virtual-kubelet")]), [""; 0], "{pool}");
            let outside = on(&[(POOL, pool), ("zone", "x")]);
            assert_eq!(outside.is_empty(), !more.is_empty(), "{pool}");
        }
        assert_eq!(on(&[]), ["enforcer"]);
    }
}

#[test]
fn pools_differ_in_what_they_name_only() {
    let objects = render::helm(&POOLS);
    let sets = of_kind(&objects, "DaemonSet");
    let agent = |index: usize| containers(sets[index])[0];
    assert_eq!(agent(0)["image"], "enforcer:0.1.0");
    assert_eq!(agent(1)["image"], "enforcer:0.2.0");
    assert_eq!(agent(2)["image"], "enforcer:0.1.0");
    assert_eq!(strings(&agent(1)["args"]).last(), Some(&"--audit"));
    assert_eq!(agent(2)["args"], agent(0)["args"]);
    let selectors: BTreeSet<_> =
        sets.iter().map(|set| set["spec"]["selector"].to_string()).collect();
    assert_eq!(selectors.len(), sets.len());
    for set in &sets {
        let template = &set["spec"]["template"];
        for (key, value) in set["spec"]["selector"]["matchLabels"].as_object().unwrap() {
            assert_eq!(&template["metadata"]["labels"][key], value);
        }
        // No second agent beside one of another DaemonSet.
        let apart = &template["spec"]["affinity"]["podAntiAffinity"];
        let term = &apart["requiredDuringSchedulingIgnoredDuringExecution"][0];
        assert_eq!(term["topologyKey"], "kubernetes.io/hostname");
        assert_eq!(term["labelSelector"]["matchLabels"]["app.kubernetes.io/component"], "agent");
    }
}

#[test]
fn a_deleted_pods_agent_is_replaced_without_a_rollout() {
    let objects = render::helm(&["updateStrategy.type=OnDelete"]);
    assert_eq!(
        of_kind(&objects, "DaemonSet")[0]["spec"]["updateStrategy"],
        json!({"type": "OnDelete"})
    );
}

#[test]
fn helm_test_asks_all_agents_with_the_least_rights() {
    let objects = render::helm_tests(&["nameOverride=guard", "metrics.port=9000"]);
    for object in &objects {
        let hook = &object["metadata"]["annotations"];
        assert_eq!(hook["helm.sh/hook"], "test", "{}", object["kind"]);
        assert_eq!(hook["helm.sh/hook-delete-policy"], "before-hook-creation,hook-succeeded");
    }
    let rules = json!([
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["get", "create"]},
    ]);
    assert_eq!(of_kind(&objects, "Role")[0]["rules"], rules);
    assert!(of_kind(&objects, "ClusterRole").is_empty());
    let pod = &of_kind(&objects, "Pod")[0]["spec"];
    assert_eq!(
        pod["serviceAccountName"],
        of_kind(&objects, "ServiceAccount")[0]["metadata"]["name"]
    );
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["runAsNonRoot"], true);
    assert_eq!(container["securityContext"]["capabilities"], json!({"drop": ["ALL"]}));
    let arguments = strings(&container["args"]);
    assert!(arguments.contains(&"--agents-port=9000"), "{arguments:?}");
    assert!(arguments.iter().any(|it| it.contains("name=guard,")), "{arguments:?}");
    assert!(pod["volumes"].is_null());
}

/// All values, by their path. What a user fills with keys of their own is one value.
fn values(prefix: &str, value: &Value, all: &mut BTreeMap<String, Value>) {
    const WHOLE: [&str; 4] = ["nodeSelector", "resources", "affinity", "metrics.dashboard.labels"];
    match value.as_object() {
        Some(object) if !object.is_empty() && !WHOLE.contains(&prefix) => {
            for (key, value) in object {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                values(&path, value, all);
            }
        }
        _ => {
            all.insert(prefix.to_owned(), value.clone());
        }
    }
}

#[test]
fn the_readme_documents_every_value() {
    let mut expected = BTreeMap::new();
    values("", &render::documents(&file("helm/enforcer/values.yaml"))[0], &mut expected);
    let readme = file("helm/enforcer/README.md");
    let mut found = BTreeMap::new();
    for line in readme.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, default, meaning] = cells.as_slice() else { panic!("three cells: {line}") };
        assert!(meaning.len() > 10, "{line}");
        let default = serde_json::from_str(default.trim_matches('`'));
        let default: Value = default.unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(found.insert(name.trim_matches('`').to_owned(), default).is_none(), "{line}");
    }
    assert_eq!(found, expected);
}
