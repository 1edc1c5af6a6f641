//! A lab with the real agent, and the manifests that a test writes for it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use enforcer::observe::Status;
use enforcer_tests::api::ApiServer;
use enforcer_tests::lab::{
    Fabric, Family, LAB_DIR, Layout, Party, Proxy, Sandbox, Topology, command_in,
};
use enforcer_tests::matrix::{Matrix, Style, render};
use enforcer_tests::patient;
use enforcer_tests::probe::Outcome;
use enforcer_tests::session::{AGENT_PORT, Session, SessionOptions};

use crate::support::{ANSWER, SILENCE, agent, in_sandbox, outcomes, spawner, web_probe};

/// Time limit for a condition that must come true; only a failing test reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Outcomes of a connection by each family: both succeed.
pub(crate) const OPEN: [Outcome; 2] = [Outcome::Open, Outcome::Open];
/// Outcomes of a connection by each family: both are dropped.
pub(crate) const CLOSED: [Outcome; 2] = [Outcome::TimedOut, Outcome::TimedOut];
/// Metric: pods with an active ingress policy.
pub(crate) const INGRESS_ISOLATED: &str = "enforcer_endpoints{state=\"ingress-isolated\"}";
/// Metric: interfaces whose pod is not known.
pub(crate) const UNKNOWN: &str = "enforcer_endpoints{state=\"unknown\"}";

/// One lab, its agents and its manifests.
pub(crate) struct Scene {
    session: Session,
    manifests: PathBuf,
}

/// The setup of a scene: by default one node with its agent, and kube-proxy in iptables mode.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    layout: Layout,
    proxy: Proxy,
    agent: bool,
    arguments: &'static [&'static str],
}

impl From<Topology> for Setup {
    fn from(topology: Topology) -> Self {
        let layout = Layout::one_node(topology);
        Self { layout, proxy: Proxy::Iptables, agent: true, arguments: &[] }
    }
}

impl From<(Topology, Proxy)> for Setup {
    fn from((topology, proxy): (Topology, Proxy)) -> Self {
        Self { proxy, ..topology.into() }
    }
}

/// Two nodes, connected by this fabric.
impl From<(Topology, Proxy, Fabric)> for Setup {
    fn from((topology, proxy, fabric): (Topology, Proxy, Fabric)) -> Self {
        let layout = Layout { topology, nodes: 2, fabric };
        Self { layout, ..(topology, proxy).into() }
    }
}

impl Setup {
    /// The same without an agent: nothing is enforced.
    pub(crate) fn unguarded(setup: impl Into<Self>) -> Self {
        Self { agent: false, ..setup.into() }
    }

    /// A lab of one node whose agent gets further arguments.
    pub(crate) fn with(setup: impl Into<Self>, arguments: &'static [&'static str]) -> Self {
        Self { arguments, ..setup.into() }
    }
}

/// Runs a test in a sandbox of its own. The agents watch an empty folder of manifests.
pub(crate) fn with_scene<F>(setup: impl Into<Setup>, test: F)
where
    F: AsyncFnOnce(&mut Scene) + Send + 'static,
{
    let setup = setup.into();
    in_sandbox(async move |sandbox| {
        let mut scene = Scene::start(sandbox, setup, None).await;
        test(&mut scene).await;
        scene.stop_agent().await.unwrap();
    });
}

impl Scene {
    /// Makes the lab and starts the agents; returns when they are ready. With an API server, it is
    /// the source of the cluster, not the manifests.
    pub(crate) async fn start(sandbox: &Sandbox, setup: Setup, api: Option<ApiServer>) -> Self {
        // The sandbox's memory needs no clearing.
        let manifests = Path::new(LAB_DIR).join("manifests");
        fs::create_dir_all(&manifests).unwrap();
        let options = SessionOptions {
            settle: PATIENCE,
            arguments: setup.arguments.iter().map(Into::into).collect(),
            layout: Some(setup.layout),
            proxy: setup.proxy,
            api,
            ..SessionOptions::new(manifests.clone(), spawner(), setup.agent.then(agent))
        };
        let topology = setup.layout.topology;
        let session = Session::start(sandbox, topology, options).await.unwrap();
        Self { session, manifests }
    }

    /// Writes a manifest, all of it or nothing.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let draft = self.manifests.join(format!(".{name}.draft"));
        fs::write(&draft, text).unwrap();
        fs::rename(&draft, self.manifests.join(name)).unwrap();
    }

    /// The directory of the manifests.
    pub(crate) fn manifests(&self) -> &Path {
        &self.manifests
    }

    /// Removes a manifest.
    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.manifests.join(name)).unwrap();
    }

    /// Installs the agents on nodes that had none; returns when they are ready.
    pub(crate) async fn install(&mut self) {
        self.session.set_agent(agent());
        self.session.start_agent().await.unwrap();
    }

    /// Runs the pods that the manifests declare. They send nothing yet.
    pub(crate) async fn run_pods(&mut self) {
        let notes = self.session.run_pods().await.unwrap();
        assert!(notes.is_empty(), "{notes:?}");
        self.until_known().await;
    }

    /// Waits until the agents guard each pod. From then on the opener of a connection is known;
    /// an older connection would be attributed to the next sender.
    async fn until_known(&self) {
        if self.agent().is_none() {
            return;
        }
        for node in 0..self.lab().nodes().len() {
            until("each pod is guarded", async || {
                let endpoints = self.status_of(node).await.endpoints;
                let guarded: BTreeSet<_> = endpoints.into_iter().map(|it| it.pod).collect();
                let here = self.lab().pods().iter().filter(|(_, pod)| pod.node() == node);
                guarded == here.map(|(id, _)| id.to_string()).collect()
            })
            .await;
        }
    }

    /// The first node's agent's status.
    pub(crate) async fn status(&self) -> Status {
        self.status_of(0).await
    }

    async fn status_of(&self, node: usize) -> Status {
        let answer = self.get_from(node, "/status").await.unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    /// Runs the pods that the manifests declare, and measures until every connection is as the
    /// reference evaluator expects; fails the test if that does not happen in time.
    pub(crate) async fn agree(&mut self, what: &str) -> Matrix {
        let applied = self.session.apply().await.unwrap();
        assert!(applied.notes.is_empty(), "{what}: {:?}", applied.notes);
        let table = || render(&applied.matrix, None, Style { color: false });
        assert!(applied.matrix.all_good(), "{what}:\n{}", table());
        self.until_known().await;
        applied.matrix
    }

    /// The outcomes of connections to a party's TCP port 80, one by each family.
    pub(crate) async fn connect(
        &self,
        from: &Party,
        to: &Party,
        patience: Duration,
    ) -> [Outcome; 2] {
        let probes = Family::ALL.map(|family| web_probe(from, to, family));
        outcomes(self.lab(), &probes, patience).await.try_into().unwrap()
    }

    /// Fails the test unless such connections end like this: [`OPEN`] or [`CLOSED`].
    pub(crate) async fn expect(&self, from: &Party, to: &Party, expected: [Outcome; 2]) {
        let patience = if expected == OPEN { ANSWER } else { SILENCE };
        assert_eq!(self.connect(from, to, patience).await, expected, "{from} → {to}");
    }

    /// The answer of the agent's HTTP server.
    pub(crate) async fn get(&self, path: &str) -> String {
        self.try_get(path).await.expect(path)
    }

    /// Like [`Self::get`], for an agent that may have ended.
    pub(crate) async fn try_get(&self, path: &str) -> std::io::Result<String> {
        self.get_from(0, path).await
    }

    async fn get_from(&self, node: usize, path: &str) -> std::io::Result<String> {
        let path = path.to_owned();
        let request = self.lab().nodes()[node].namespace().run(move || {
            let at = SocketAddr::from(([127, 0, 0, 1], AGENT_PORT));
            let mut stream = TcpStream::connect(at)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        request.await.unwrap()
    }

    /// The value of the metric's series with exactly these labels; 0 if there is none.
    pub(crate) async fn metric(&self, series: &str) -> u64 {
        let text = self.get("/metrics").await;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0, |value| value.trim().parse().unwrap())
    }

    /// The packets to `shop/server` that its policy has denied.
    pub(crate) async fn denied(&self) -> u64 {
        const SERIES: &str = r#"enforcer_drops_total{namespace="shop",pod="server",direction="ingress",reason="denied"}"#;
        self.metric(SERIES).await
    }

    /// The output of the agent's program, run on the first node.
    pub(crate) async fn enforcer(&self, arguments: &[&str]) -> Output {
        let agent = agent();
        let program = agent.to_str().unwrap();
        command_in(self.lab().node(), &spawner(), program, arguments).await.unwrap()
    }

    #[expect(clippy::print_stderr, reason = "shown with the failure of the test")]
    fn print_logs(&self) {
        const LINES: usize = 60;
        for node in 0..self.lab().nodes().len() {
            let log = self.log_of(node);
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LINES)..];
            eprintln!("the end of the log of node {node}'s agent:\n{}", tail.join("\n"));
        }
    }

    /// The first node's agent's log.
    pub(crate) fn log(&self) -> String {
        self.log_of(0)
    }

    fn log_of(&self, node: usize) -> String {
        // Without an agent there is none.
        fs::read_to_string(self.log_file(node).unwrap()).unwrap_or_default()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
    }
}

impl Deref for Scene {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl DerefMut for Scene {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}

/// Repeats a check until it holds; fails the test if that takes too long.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started_at = Instant::now();
    while !condition().await {
        assert!(started_at.elapsed() < patient(PATIENCE), "never came: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A pod's manifest; `labels` in YAML's flow style, `ports` as `name/protocol/number`.
pub(crate) fn pod(namespace: &str, name: &str, labels: &str, ports: &[&str]) -> String {
    let mut text = format!(
        "---\napiVersion: v1\nkind: Pod\n\
         metadata: {{namespace: {namespace}, name: {name}, labels: {{{labels}}}}}\n\
         spec:\n  containers:\n  - name: main\n    image: example.org/main\n    ports:\n"
    );
    for port in ports {
        let mut parts = port.split('/');
        let (name, protocol, number) = (parts.next(), parts.next(), parts.next());
        let [name, protocol, number] = [name, protocol, number].map(Option::unwrap);
        text += &format!("    - {{name: {name}, protocol: {protocol}, containerPort: {number}}}\n");
    }
    text
}

/// Like [`pod`], for a certain node.
pub(crate) fn pod_on(
    node: &str,
    namespace: &str,
    name: &str,
    labels: &str,
    ports: &[&str],
) -> String {
    let text = pod(namespace, name, labels, ports);
    text.replace("spec:\n", &format!("spec:\n  nodeName: {node}\n"))
}

/// The namespace `shop` with these pods. Each has its name as its label `app` and serves TCP 80.
pub(crate) fn shop_of(names: &[&str]) -> String {
    let pods = names.iter().map(|it| pod("shop", it, &format!("app: {it}"), &["http/TCP/80"]));
    namespace("shop", "") + &pods.collect::<String>()
}

/// A namespace's manifest.
pub(crate) fn namespace(name: &str, labels: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n"
    )
}

/// A policy's manifest; `spec` in YAML's flow style, without its braces.
pub(crate) fn policy(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{namespace: {namespace}, name: {name}}}\nspec: {{{spec}}}\n"
    )
}
