//! `kubectl enforcer` on the API server's stand-in, with agents whose answers are written down.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};

use clap::Parser as _;
use enforcer::cli::error_line;
use enforcer::cli::plugin::{self, PluginCli};
use enforcer::inspect::{KernelEnd, Question, State, Trace, TraceStep, TracedConnection, ask_each};
use enforcer::observe::{
    DropRecord, EndpointStatus, FlowRecord, Flows, Interface, Isolation, PolicyUse,
    ProtectionStatus, RecentDrop, Status,
};
use enforcer_tests::api::{ApiServer, Forwarder, Key, Listening, kinds, write_kubeconfig};

/// The agents' port.
const PORT: u16 = 9469;

/// Serves one answer for each path, like an agent.
fn agent(answers: BTreeMap<&'static str, String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1_024];
            let length = stream.read(&mut request).unwrap();
            let text = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = text.split_whitespace().nth(1).unwrap_or_default();
            let body = answers.get(path.split('?').next().unwrap_or_default());
            let head = if body.is_some() { "200 OK" } else { "404 Not Found" };
            let body = body.map(String::as_str).unwrap_or_default();
            // The client may have given up.
            let _ = write!(stream, "HTTP/1.0 {head}\r\n\r\n{body}");
        }
    });
    address
}

fn status(pods: &[(&str, &[&str])], problems: &[&str]) -> Status {
    let endpoints = pods.iter().map(|(pod, ingress)| EndpointStatus {
        pod: (*pod).to_owned(),
        interface: Interface::default(),
        ingress: if ingress.is_empty() { Isolation::NotIsolated } else { Isolation::Isolated },
        egress: Isolation::NotIsolated,
        counters: Vec::new(),
        protection: ProtectionStatus {
            ingress_by: ingress.iter().map(|it| (*it).to_owned()).collect(),
            ..ProtectionStatus::default()
        },
    });
    Status {
        version: "0.1.0".to_owned(),
        ready: problems.is_empty(),
        endpoints: endpoints.collect(),
        problems: problems.iter().map(|it| (*it).to_owned()).collect(),
        ..Status::default()
    }
}

fn dropped(number: u64, seconds_ago: u64, pod: &str) -> RecentDrop {
    let drop = serde_json::json!({
        "protocol": "TCP", "pod": pod, "ifindex": 7, "direction": "ingress", "reason": "denied",
        "length": 74,
    });
    let drop: DropRecord = serde_json::from_value(drop).unwrap();
    RecentDrop { number, seconds_ago, repeats: 0, drop }
}

fn flows(node: &str, at_sender: u64, at_receiver: u64) -> Flows {
    let time = "2026-11-27T00:50:00Z".to_owned();
    let flow = FlowRecord {
        from: "apps/client-x".to_owned(),
        from_kind: "workload".to_owned(),
        to: "backend/api-z".to_owned(),
        to_kind: "workload".to_owned(),
        protocol: "TCP".to_owned(),
        port: Some(8080),
        verdict: "allowed".to_owned(),
        connections: at_sender.max(at_receiver),
        at_sender,
        at_receiver,
        first_seen: time.clone(),
        last_seen: time.clone(),
        ..FlowRecord::default()
    };
    let used = PolicyUse {
        policy: "backend/api-z".to_owned(),
        direction: "ingress".to_owned(),
        rule: Some("spec.ingress[0]".to_owned()),
        connections: at_receiver,
        denied: 0,
        since: time.clone(),
        last_used: None,
    };
    Flows {
        node: node.to_owned(),
        since: time.clone(),
        at: time,
        revision: 1,
        flows: vec![flow],
        policies: vec![used],
        ..Flows::default()
    }
}

fn answers(status: &Status, drops: &[RecentDrop], flows: &Flows) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("/trace", half(&flows.node)),
        ("/status", serde_json::to_string(status).unwrap()),
        ("/drops", serde_json::to_string(drops).unwrap()),
        ("/flows", serde_json::to_string(flows).unwrap()),
    ])
}

/// Half of a way from client-x to api-z: what the agent of this node answers.
fn half(node: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/tutorial/least-privilege");
    let read = |it: &str| std::fs::read_to_string(folder.join(it)).unwrap();
    let text = read("00-pods.yaml") + "---\n" + &read("10-api-z.yaml");
    let state = State::of_text(Path::new("x.yaml"), &text).unwrap().with_addresses(None);
    let to = "backend/api-z:8080".to_owned();
    let question = Question { from: "apps/client-x".to_owned(), to, ..Question::default() };
    let (_, explanation) = ask_each(&state, &question).unwrap().pairs.remove(0);
    let (program, pod, direction, reason) = match node {
        "node-1" => ("to_pod", "backend/api-z", "ingress", "policy"),
        _ => ("from_pod", "apps/client-x", "egress", "not-isolated"),
    };
    let step = TraceStep {
        node: node.to_owned(),
        program: program.into(),
        interface: "veth7".to_owned(),
        pod: Some(pod.to_owned()),
        packet: "the packet".to_owned(),
        passes: true,
        reason: Some(reason.into()),
        reached: true,
    };
    let end = KernelEnd {
        pod: pod.to_owned(),
        direction: direction.into(),
        allowed: true,
        reason: Some(reason.into()),
    };
    let connection = TracedConnection::new(explanation, vec![step], vec![end]);
    let node = node.to_owned();
    let trace = Trace { node, connections: vec![connection], ..Trace::default() };
    serde_json::to_string(&trace).unwrap()
}

/// A cluster of four nodes: two agents answer, one is closed, one does not run.
pub(super) struct Desk {
    _server: ApiServer,
    _listening: Listening,
    home: tempfile::TempDir,
}

impl Desk {
    pub(super) fn new() -> Self {
        let one = agent(answers(
            &status(&[("backend/api-z", &["backend/api-z"])], &[]),
            &[dropped(2, 3, "backend/api-z"), dropped(1, 9, "apps/other")],
            &flows("node-1", 0, 5),
        ));
        let two = agent(answers(
            &status(&[("apps/client-x", &[])], &["a table is full"]),
            &[dropped(1, 5, "apps/client-x")],
            &flows("node-2", 4, 0),
        ));
        let ports = BTreeMap::from([("agent-1", one), ("agent-2", two)]);
        let target = move |key: &Key, port: u16| {
            ports.get(key.name.as_str()).copied().filter(|_| port == PORT)
        };
        let server = ApiServer::new().unwrap().with_forwarder(Forwarder::new(target));
        let listening = server.listen_on_loopback(0).unwrap();
        let home = tempfile::tempdir().unwrap();
        write_kubeconfig(&home.path().join("config"), listening.address()).unwrap();
        let mut text =
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: enforcer-system}\n".to_owned();
        for number in 1..=4 {
            text += &format!(
                "---\napiVersion: v1\nkind: Pod\n\
                 metadata: {{namespace: enforcer-system, name: agent-{number}, labels: \
                 {{app.kubernetes.io/name: enforcer, app.kubernetes.io/component: agent}}}}\n\
                 spec: {{nodeName: node-{number}, containers: [{{name: agent, image: x}}]}}\n"
            );
        }
        text += "---\napiVersion: v1\nkind: Pod\n\
                 metadata: {namespace: enforcer-system, name: other}\n\
                 spec: {nodeName: node-1, containers: [{name: main, image: x}]}\n";
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/tutorial/least-privilege");
        for file in ["00-pods.yaml", "10-api-z.yaml"] {
            text += "---\n";
            text += &std::fs::read_to_string(folder.join(file)).unwrap();
        }
        server.store().apply(&text).unwrap();
        for (namespace, pod, node) in
            [("backend", "api-z", "node-1"), ("apps", "client-x", "node-2")]
        {
            let bind = |pod: &mut serde_json::Value| pod["spec"]["nodeName"] = node.into();
            assert!(server.store().edit(&kinds::PODS, &Key::new(namespace, pod), bind));
        }
        for number in 1..=3 {
            let key = Key::new("enforcer-system", format!("agent-{number}"));
            let run = |pod: &mut serde_json::Value| pod["status"]["phase"] = "Running".into();
            assert!(server.store().edit(&kinds::PODS, &key, run));
        }
        Self { _server: server, _listening: listening, home }
    }

    pub(super) async fn run(&self, line: &str) -> String {
        let config = self.home.path().join("config").display().to_string();
        let words = ["kubectl-enforcer"].into_iter().chain(line.split_whitespace());
        let arguments = words.chain(["--kubeconfig", &config]);
        let PluginCli { agents, command, .. } = PluginCli::try_parse_from(arguments).unwrap();
        let mut out = Vec::new();
        let result = plugin::run(&agents, command, &mut out).await;
        let text = String::from_utf8(out).unwrap();
        match result {
            Ok(code) => format!("$ kubectl enforcer {line}\n{text}exit code {code}\n\n"),
            Err(error) => {
                format!("$ kubectl enforcer {line}\n{text}error: {}\n\n", error_line(&error))
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_of_a_cluster_are_one_answer() {
    let desk = Desk::new();
    let mut text = String::new();
    for line in [
        "status",
        "problems",
        "problems --node node-1",
        "drops",
        "drops --namespace backend --output json",
        "flows",
        "flows --policies --namespace backend",
        "top --count 1 --interval 1 --pods 5",
        "explain apps/client-x backend/api-z:8080",
        "trace apps/client-x backend/api-z:8080",
        "trace apps/client-x backend/api-z:8080 --agents-port 1",
        "suggest backend",
        "suggest ops",
        "audit",
        "audit --output rules",
        "describe",
        "describe backend/api-z",
        "diff cluster inspect/changed",
        "status --node nowhere",
        "status --agents-selector app=nothing",
        "status --agents-port 1 --node node-1",
    ] {
        text += &desk.run(line).await;
    }
    insta::assert_snapshot!(text);
}

/// The documents of scripts: `docs/json.md`.
#[tokio::test(flavor = "multi_thread")]
async fn clusters_documents() {
    let desk = Desk::new();
    let text = desk.run("problems --output json").await
        + &desk.run("status --output json --node node-3").await
        + &desk.run("flows --output json").await;
    insta::assert_snapshot!(text);
}

/// What a command prints while it still runs.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The page has the API server's policies, and the agents' documents by port-forward.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_all_agents() {
    let desk = Desk::new();
    let config = desk.home.path().join("config").display().to_string();
    let arguments = ["kubectl-enforcer", "ui", "--kubeconfig", &config];
    let PluginCli { agents, command, .. } = PluginCli::try_parse_from(arguments).unwrap();
    let screen = Screen::default();
    let mut out = screen.clone();
    let serving = tokio::spawn(async move { plugin::run(&agents, command, &mut out).await });
    let url = loop {
        let text = String::from_utf8(screen.0.lock().unwrap().clone()).unwrap();
        if let Some(url) = text.strip_suffix('\n') {
            break url.to_owned();
        }
        assert!(!serving.is_finished(), "{text}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    let (address, token) = url.strip_prefix("http://").unwrap().split_once("/#token=").unwrap();
    let (address, token) = (address.to_owned(), token.to_owned());
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        write!(
            stream,
            "GET /api/activity HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = asked.await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200"), "{head}");
    let activity: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(activity["agents"], serde_json::json!(["node-1", "node-2"]));
    assert_eq!(activity["flows"].as_array().unwrap().len(), 2);
    assert_eq!(activity["audit"].as_array().unwrap().len(), 2);
    let nodes: Vec<&str> = activity["drops"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["node"].as_str().unwrap())
        .collect();
    assert_eq!(nodes, ["node-1", "node-1", "node-2"]);
    let silent = activity["silent"].to_string();
    assert!(silent.contains("node-3") && silent.contains("node-4"), "{silent}");
    serving.abort();
}
