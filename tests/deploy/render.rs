//! Rendered manifests.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use serde_json::Value;
use tempfile::TempDir;

/// The overlays that install the agent.
pub(crate) const OVERLAYS: [&str; 4] =
    ["generic", "aks-kubenet", "aks-azure-cni", "aks-azure-cni-overlay"];

/// The optional components, in the chart's order of arguments. `metrics` comes with the monitors.
pub(crate) const COMPONENTS: [&str; 11] = [
    "strict",
    "audit",
    "reject",
    "page",
    "events",
    "taint",
    "nri",
    "podmonitor",
    "servicemonitor",
    "alerts",
    "dashboard",
];

/// The chart's values that enable the same, and nothing else.
pub(crate) const VALUES: [&str; 11] = [
    "agent.unknownPod=deny",
    "agent.audit=true",
    "agent.denyWith=reject",
    "agent.page=127.0.0.1:9470",
    "agent.events=true",
    "agent.removeTaint=enforcer/agent-not-ready",
    "agent.nri=auto",
    "metrics.podMonitor.enabled=true",
    "metrics.serviceMonitor.enabled=true",
    "metrics.prometheusRule.enabled=true",
    "metrics.dashboard.enabled=true",
];

pub(crate) fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").canonicalize().unwrap()
}

pub(crate) fn chart() -> PathBuf {
    deploy().join("helm/enforcer")
}

/// A program that `cargo xtask test` has found, by default that on the PATH.
pub(crate) fn tool(variable: &str, name: &str) -> Command {
    let program = std::env::var_os(variable).unwrap_or_else(|| name.into());
    Command::new(program)
}

pub(crate) fn output(command: &mut Command) -> Output {
    let shown = format!("{command:?}");
    command.output().unwrap_or_else(|error| {
        panic!(
            "{shown}: {error}: `cargo xtask test` installs the programs for the tests of deploy/"
        )
    })
}

fn text(command: &mut Command) -> String {
    let shown = format!("{command:?}");
    let output = output(command);
    assert!(output.status.success(), "{shown}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The documents of a YAML stream. A key that stands twice is an error.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    all.into_iter().filter(|value| !value.is_null()).collect()
}

/// A file below `deploy/` as text.
pub(crate) fn file(path: &str) -> String {
    let path = deploy().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `kubectl kustomize` of a folder below `deploy/kustomize`.
pub(crate) fn kustomize(folder: &str) -> Vec<Value> {
    build(&deploy().join("kustomize").join(folder))
}

/// `kubectl kustomize` of a folder.
pub(crate) fn build(folder: &Path) -> Vec<Value> {
    documents(&text(tool("ENFORCER_KUBECTL", "kubectl").arg("kustomize").arg(folder)))
}

/// An overlay with components, as a user's own kustomization adds them.
pub(crate) fn with_components(overlay: &str, components: &[&str]) -> Vec<Value> {
    let folder = TempDir::new().unwrap();
    let here = folder.path().canonicalize().unwrap();
    // Kustomize takes no absolute paths.
    let depth = here.components().filter(|it| matches!(it, Component::Normal(_))).count();
    let deploy = deploy();
    let base =
        format!("{}{}/kustomize", "../".repeat(depth), deploy.strip_prefix("/").unwrap().display());
    let mut text = format!("resources:\n- {base}/overlays/{overlay}\ncomponents:\n");
    for component in components {
        text.push_str(&format!("- {base}/components/{component}\n"));
    }
    fs::write(here.join("kustomization.yaml"), text).unwrap();
    build(&here)
}

/// `helm template` with values set, and an image.
pub(crate) fn helm(values: &[&str]) -> Vec<Value> {
    let values: Vec<_> = [IMAGE].iter().chain(values).copied().collect();
    documents(&text(helm_command(&values).arg("--skip-tests")))
}

/// The objects of `helm test` only.
pub(crate) fn helm_tests(values: &[&str]) -> Vec<Value> {
    let values: Vec<_> = [IMAGE].iter().chain(values).copied().collect();
    let file = "templates/tests/agents.yaml";
    documents(&text(helm_command(&values).args(["--show-only", file])))
}

/// The image of the kustomizations, as the chart's value.
const IMAGE: &str = "image.repository=enforcer";

/// Helm's message when it rejects the values.
pub(crate) fn helm_refusal(values: &[&str]) -> String {
    let output = output(&mut helm_command(values));
    assert!(!output.status.success(), "helm takes {values:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn helm_command(values: &[&str]) -> Command {
    let mut command = tool("ENFORCER_HELM", "helm");
    command.args(["template", "enforcer"]).arg(chart());
    command.args(["--namespace", "enforcer-system"]);
    for value in values {
        command.arg("--set").arg(value);
    }
    command
}

/// All renderings, each with a name for messages.
pub(crate) fn everything() -> &'static [(String, Vec<Value>)] {
    static EVERYTHING: LazyLock<Vec<(String, Vec<Value>)>> = LazyLock::new(render_everything);
    &EVERYTHING
}

fn render_everything() -> Vec<(String, Vec<Value>)> {
    let mut all = vec![("uninstall".to_owned(), kustomize("uninstall"))];
    for overlay in OVERLAYS {
        all.push((overlay.to_owned(), kustomize(&format!("overlays/{overlay}"))));
    }
    for component in COMPONENTS.iter().chain(&["metrics", "podmonitor-azure"]) {
        all.push(((*component).to_owned(), with_components("generic", &[component])));
    }
    all.push(("all components".to_owned(), with_components("aks-kubenet", &COMPONENTS)));
    all.push(("helm".to_owned(), helm(&[])));
    let mut values = VALUES.to_vec();
    values.extend(OTHER_VALUES);
    all.push(("helm, all values".to_owned(), helm(&values)));
    all.push(("uninstall by helm".to_owned(), helm(&["cleanup=true"])));
    all
}

/// Values without a component.
pub(crate) const OTHER_VALUES: [&str; 29] = [
    "aks=true",
    "image.repository=example.azurecr.io/enforcer",
    "image.digest=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "imagePullSecrets[0].name=one",
    "nameOverride=guard",
    "fullnameOverride=node-guard",
    "additionalLabels.team=network",
    "kubernetesServiceHost=api.example.org",
    "extraArgs={--flow-log=stdout}",
    "extraEnv[0].name=TZ",
    "extraEnv[0].value=UTC",
    "metrics.podMonitor.relabelings[0].targetLabel=cluster",
    "metrics.podMonitor.relabelings[0].replacement=one",
    "metrics.dashboard.namespace=grafana",
    "agent.log=enforcer::drops=off\\,info",
    "agent.uplinks={eth0,eth1}",
    "agent.markMask=0x7fff0000",
    "agent.flowTimeouts.udp=60",
    "agent.flowTimeouts.tcp-established=86400",
    "agent.flows=4194304",
    "agent.allowAnySource=true",
    "metrics.podMetrics=pod",
    "metrics.podMonitor.apiVersion=azmonitoring.coreos.com/v1",
    "serviceAccount.annotations.a/b=c",
    "nodeSelector.pool=linux",
    "podAnnotations.a/b=c",
    "podLabels.a/b=c",
    "resources.limits.cpu=1",
    "updateStrategy.rollingUpdate.maxUnavailable=3",
];

/// The objects of one kind.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// Every container of a pod template, the initial ones first.
pub(crate) fn containers(daemon_set: &Value) -> Vec<&Value> {
    let spec = &daemon_set["spec"]["template"]["spec"];
    let lists = [&spec["initContainers"], &spec["containers"]];
    lists.into_iter().filter_map(Value::as_array).flatten().collect()
}

/// The strings of a list; none if there is no list.
pub(crate) fn strings(value: &Value) -> Vec<&str> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|it| it.as_str().unwrap()).collect()
}
