//! Alerts and dashboard use metrics that the agent has.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::render::{self, deploy, file, output, tool};

/// The agent's metrics, in its own test's snapshot.
const EXPOSITION: &str =
    "../enforcer/src/observe/snapshots/enforcer__observe__metrics__tests__exposition.snap";

/// The names of all series.
fn exposed() -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(EXPOSITION)).unwrap();
    let samples = text.lines().filter(|line| line.starts_with("enforcer_"));
    samples.map(|line| line.split(['{', ' ']).next().unwrap_or_default().to_owned()).collect()
}

/// The agent's metrics in an expression.
fn named(expression: &str) -> Vec<&str> {
    expression
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("enforcer_"))
        .collect()
}

fn alerts() -> Value {
    render::documents(&file("monitoring/alerts.yaml")).remove(0)
}

fn rules(groups: &Value) -> Vec<&Value> {
    let groups = groups.as_array().unwrap().iter();
    groups.flat_map(|group| group["rules"].as_array().unwrap()).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&file("monitoring/dashboard.json")).unwrap()
}

/// The expressions of the dashboard's panels, with the values that Grafana fills in.
fn dashboards_expressions() -> Vec<String> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    targets
        .map(|target| {
            let text = target["expr"].as_str().unwrap();
            let text = text.replace("$__rate_interval", "2m").replace("$__range", "1h");
            text.replace("$node", ".*").replace("$namespace", ".*")
        })
        .collect()
}

fn promtool(arguments: &[&str], folder: &Path) {
    let mut command = tool("ENFORCER_PROMTOOL", "promtool");
    let output = output(command.args(arguments).current_dir(folder));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {text}");
}

#[test]
fn alerts_fire_when_they_should() {
    let folder = deploy().join("monitoring");
    promtool(&["check", "rules", "alerts.yaml"], &folder);
    promtool(&["test", "rules", "alerts_test.yaml"], &folder);
}

#[test]
fn every_alert_is_tested() {
    let alerts = alerts();
    let tested = file("monitoring/alerts_test.yaml");
    for rule in rules(&alerts["groups"]) {
        let name = rule["alert"].as_str().unwrap();
        assert!(tested.contains(&format!("alertname: {name}\n")), "{name}");
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
    }
}

#[test]
fn every_alert_has_a_runbook() {
    let runbooks = file("../docs/runbooks.md");
    let alerts = alerts();
    let rules = rules(&alerts["groups"]);
    for rule in &rules {
        let name = rule["alert"].as_str().unwrap();
        assert!(runbooks.contains(&format!("\n## {name}\n")), "{name}");
        let link = format!("docs/runbooks.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook"], link.as_str(), "{name}");
    }
    assert_eq!(runbooks.matches("\n## ").count(), rules.len(), "a runbook without an alert");
}

#[test]
fn all_copies_of_the_alerts_are_the_same() {
    let rule = &render::documents(&file("kustomize/components/alerts/prometheus-rule.yaml"))[0];
    assert_eq!(rule["spec"]["groups"], alerts()["groups"]);
}

#[test]
fn metrics_exist() {
    let exposed = exposed();
    assert!(exposed.contains("enforcer_drops_total"), "{exposed:?}");
    let alerts = alerts();
    let rules = rules(&alerts["groups"]);
    let alerts = rules.iter().map(|rule| rule["expr"].as_str().unwrap().to_owned());
    let mut seen = BTreeSet::new();
    for expression in alerts.chain(dashboards_expressions()) {
        for name in named(&expression) {
            assert!(exposed.contains(name), "no metric {name}: {expression}");
            seen.insert(name.to_owned());
        }
    }
    assert!(seen.len() > 10, "{seen:?}");
}

#[test]
fn the_dashboards_expressions_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    for (index, expression) in dashboards_expressions().iter().enumerate() {
        let quoted = serde_json::to_string(expression).unwrap();
        text.push_str(&format!("  - record: panel:{index}\n    expr: {quoted}\n"));
    }
    fs::write(folder.path().join("dashboard.yaml"), text).unwrap();
    promtool(&["check", "rules", "dashboard.yaml"], folder.path());
}

#[test]
fn the_dashboard_can_be_imported_anywhere() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "ids are unique");
    for panel in panels {
        let place = &panel["gridPos"];
        let number = |key: &str| place[key].as_u64().unwrap();
        assert!(number("x") + number("w") <= 24, "{}", panel["title"]);
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        }
    }
    for one in panels {
        for other in panels.iter().filter(|it| it["id"] != one["id"]) {
            assert!(
                !overlap(&one["gridPos"], &other["gridPos"]),
                "{} {}",
                one["title"],
                other["title"]
            );
        }
    }
}

fn overlap(one: &Value, other: &Value) -> bool {
    let apart = |from: &str, size: &str| {
        let (a, b) = (one[from].as_u64(), other[from].as_u64());
        let end =
            |value: &Value| value[from].as_u64().zip(value[size].as_u64()).map(|(x, w)| x + w);
        end(one) <= b || end(other) <= a
    };
    !apart("x", "w") && !apart("y", "h")
}
