//! What the agent tells programs: metrics that Prometheus' own linter accepts, and a log of JSON objects.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use enforcer_core::model::AUDIT_ANNOTATION;
use enforcer_tests::lab::{Family, Lab, Party, Topology};
use enforcer_tests::session::AGENT_PORT;
use serde_json::Value;

use crate::agent::{budget_renewed, isolate_server, send};
use crate::scene::{CLOSED, OPEN, Scene, Setup, namespace, policy, until, with_scene};
use crate::support;

/// Findings of Prometheus' linter on metrics in its text format. `ENFORCER_PROMTOOL` names the program, as set by
/// `cargo xtask test`.
fn lint(text: &str) -> String {
    let program = std::env::var_os("ENFORCER_PROMTOOL").unwrap_or_else(|| "promtool".into());
    let mut command = Command::new(program);
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("`cargo xtask test` installs promtool");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let found = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    format!("{}{found}", if output.status.success() { "" } else { "failed: " })
}

/// The metrics in a format, as a server of Prometheus asks for it.
async fn metrics(lab: &Lab, accept: &'static str) -> String {
    let request = lab.node().run(move || {
        let mut stream =
            TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], AGENT_PORT))).unwrap();
        let head = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n");
        write!(stream, "{head}Connection: close\r\n\r\n").unwrap();
        std::io::read_to_string(stream).unwrap()
    });
    let answer = request.await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let kind = accept.split(';').next().unwrap();
    assert!(head.to_lowercase().contains(&format!("content-type: {kind}")), "{head}");
    body.to_owned()
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0";
const PLAIN: &str = "text/plain; version=0.0.4";

/// What OpenMetrics demands beyond the text format, which is all that promtool reads: a family's lines stand
/// together, its unit ends its name, a counter's samples end in `_total`, and the end is marked.
fn expect_open_metrics(text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    let (last, lines) = lines.split_last().unwrap();
    assert_eq!(*last, "# EOF");
    let mut families: Vec<(&str, &str)> = Vec::new();
    for line in lines {
        let (family, kind) = families.last().copied().unwrap_or_default();
        if let Some(help) = line.strip_prefix("# HELP ") {
            let name = help.split(' ').next().unwrap();
            assert!(families.iter().all(|(it, _)| *it != name), "{name} is there twice");
            families.push((name, ""));
        } else if let Some(found) = line.strip_prefix("# TYPE ") {
            let (name, kind) = found.split_once(' ').unwrap();
            assert_eq!(name, family);
            families.last_mut().unwrap().1 = kind;
        } else if let Some(unit) = line.strip_prefix("# UNIT ") {
            let (name, unit) = unit.split_once(' ').unwrap();
            assert!(name == family && name.ends_with(&format!("_{unit}")), "{line}");
        } else {
            let suffix = line.strip_prefix(family).unwrap_or_else(|| panic!("{family}: {line}"));
            let suffix = suffix.split(['{', ' ']).next().unwrap();
            let expected: &[&str] = match kind {
                "counter" => &["_total"],
                "info" => &["_info"],
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(expected.contains(&suffix), "{kind}: {line}");
        }
    }
}

/// An agent that nothing has happened to: alerts on the increase of a counter see its first one.
async fn start_at_zero(scene: &Scene) {
    let text = metrics(scene.lab(), PLAIN).await;
    for series in [
        r#"enforcer_drops_total{namespace="",pod="",direction="egress",reason="unknown-pod"} 0"#,
        r#"enforcer_rejections_total{result="failed"} 0"#,
        r#"enforcer_pod_sandboxes_total{outcome="timed-out"} 0"#,
        "enforcer_events_lost_total 0",
        "enforcer_hooks_restored_total 0",
        "enforcer_drift_found_total 0",
    ] {
        assert!(text.lines().any(|it| it == series), "{series}: {text}");
    }
}

/// A policy that would isolate the client, in audit, and one with a mistake.
fn more_policies() -> String {
    let annotations = format!("annotations: {{{AUDIT_ANNOTATION}: \"true\"}}, name: ");
    let audited = policy("shop", "audited", "podSelector: {matchLabels: {app: client}}");
    let wrong = policy("shop", "wrong", "podSelector: {matchLabels: {app: none}}, ports: x");
    audited.replace("name: ", &annotations) + &wrong
}

async fn checked(scene: &mut Scene) {
    start_at_zero(scene).await;
    isolate_server(scene).await;
    let isolated = metrics(scene.lab(), PLAIN).await;
    for (direction, reason) in
        [("egress", "spoofed-source"), ("egress", "mark-lost"), ("ingress", "mark-lost")]
    {
        let series = format!(
            "enforcer_drops_total{{namespace=\"shop\",pod=\"server\",direction=\"{direction}\",reason=\"{reason}\"}} 0"
        );
        assert!(isolated.lines().any(|it| it == series), "{series}: {isolated}");
    }
    scene.write("more.yaml", &more_policies());
    until("the policies are known", async || {
        scene.metric("enforcer_policies_in_audit").await == 1
            && scene.metric("enforcer_manifest_errors").await >= 1
    })
    .await;
    let (client, server) = (Party::pod("shop", "client"), Party::pod("shop", "server"));
    scene.expect(&client, &server, CLOSED).await;
    scene.expect(&server, &client, OPEN).await;
    let attempts = "enforcer_drop_attempts_total{namespace=\"shop\",workload=\"server\"";
    until("everything has been counted", async || {
        let text = metrics(scene.lab(), PLAIN).await;
        let has = |start: &str| text.lines().any(|it| it.starts_with(start) && !it.ends_with(" 0"));
        has(attempts) && has("enforcer_audit_connections_total{") && has("enforcer_flows_limit{")
    })
    .await;
    assert_eq!(lint(&metrics(scene.lab(), PLAIN).await), "");
    expect_open_metrics(&metrics(scene.lab(), OPEN_METRICS).await);
    assert_ne!(lint("# HELP a b\n# TYPE a counter\na 1\n"), "", "the linter finds nothing");
}

/// The parts of a denial that need no parsing of its message.
async fn logged(scene: &mut Scene) {
    isolate_server(scene).await;
    budget_renewed().await;
    let [from, to] = ["client", "server"].map(|name| {
        scene.lab().address(&Party::pod("shop", name), Family::V4).unwrap().to_string()
    });
    send(scene.lab(), Family::V4, 3).await;
    let fields = |scene: &Scene| -> Option<Value> {
        let log = scene.log();
        let lines = log.lines().map(|it| serde_json::from_str::<Value>(it).expect(it));
        let drops = lines.filter(|it| it["target"] == "enforcer::drops");
        drops.map(|it| it["fields"].clone()).find(|it| it["to_port"] == 4242)
    };
    until("the drop is logged", async || fields(scene).is_some()).await;
    let found = fields(scene).unwrap();
    let expected = serde_json::json!({
        "from_namespace": "shop", "from_pod": "shop/client", "from_workload": "shop/client",
        "from_address": from, "to_namespace": "shop", "to_pod": "shop/server",
        "to_workload": "shop/server", "to_address": to, "protocol": "UDP", "pod": "shop/server",
        "direction": "ingress", "reason": "denied", "isolated_by": "shop/nothing-in",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&found[name], value, "{name}: {found}");
    }
}

#[test]
fn the_metrics_are_clean() {
    with_scene(Topology::AzureCni, async |scene| checked(scene).await);
}

#[test]
fn the_log_has_a_field_for_each_part_of_a_drop() {
    let setup = Setup::with(Topology::AzureCni, &["--log-format", "json"]);
    with_scene(setup, async |scene| logged(scene).await);
}

/// What a command reports to its user has neither a time nor a module.
#[test]
fn commands_report_in_plain_lines() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    let text = policy("shop", "p", "podSelector: {}") + "status: {}\n";
    std::fs::write(&file, namespace("shop", "") + &text).unwrap();
    let file = file.display().to_string();
    let run = |arguments: &[&str]| {
        let output = Command::new(support::agent()).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, messages) = run(&["describe", "shop", "--manifests", &file]);
    assert_eq!((code, messages.lines().count()), (Some(0), 1), "{messages}");
    assert!(messages.starts_with(&format!("{file}:10:1: warning: status: ")), "{messages}");
    let (code, messages) = run(&["describe", "nowhere", "--manifests", &file]);
    assert_eq!((code, messages.lines().count()), (Some(2), 2), "{messages}");
    assert!(messages.contains("\nerror: "), "{messages}");
    let (code, messages) = run(&["top", "--status", "127.0.0.1:1"]);
    assert_eq!(code, Some(2));
    assert!(messages.starts_with("error: cannot reach the agent"), "{messages}");
}
