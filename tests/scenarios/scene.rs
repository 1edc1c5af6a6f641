//! A lab with the real agent, and the manifests that a test writes for it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use enforcer::observe::Status;
use enforcer_tests::lab::{LAB_DIR, Layout, Proxy, Sandbox, Topology};
use enforcer_tests::matrix::{Matrix, Style, render};
use enforcer_tests::session::{AGENT_PORT, Session, SessionOptions};

use crate::support::{agent, in_sandbox, spawner};

/// How long a condition is waited for that has to come; only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One lab, its agent and its manifests.
pub(crate) struct Scene {
    session: Session,
    manifests: PathBuf,
}

/// How a scene is set up.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub layout: Layout,
    pub proxy: Proxy,
    /// Without, nothing is enforced.
    pub agent: bool,
    /// Further arguments for the agents.
    pub arguments: &'static [&'static str],
}

impl Setup {
    /// One node with its agent.
    pub(crate) const fn one_node(topology: Topology) -> Self {
        let layout = Layout::one_node(topology);
        Self { layout, proxy: Proxy::Iptables, agent: true, arguments: &[] }
    }
}

/// Runs a test in a sandbox of its own.
pub(crate) fn with_setup<F>(setup: Setup, test: F)
where
    F: AsyncFnOnce(&mut Scene) + Send + 'static,
{
    in_sandbox(async move |sandbox| {
        let mut scene = Scene::start(sandbox, setup).await;
        test(&mut scene).await;
        scene.stop_agent().await.unwrap();
    });
}

/// Runs a test in a sandbox of its own, with a lab and an agent that watches an empty directory.
pub(crate) fn with_agent<F>(topology: Topology, test: F)
where
    F: AsyncFnOnce(&mut Scene) + Send + 'static,
{
    with_agent_and(topology, &[], test);
}

/// The same with further arguments for the agent.
pub(crate) fn with_agent_and<F>(topology: Topology, arguments: &'static [&str], test: F)
where
    F: AsyncFnOnce(&mut Scene) + Send + 'static,
{
    with_setup(Setup { arguments, ..Setup::one_node(topology) }, test);
}

impl Scene {
    /// Makes the lab and starts the agents; returns when they are ready.
    pub(crate) async fn start(sandbox: &Sandbox, setup: Setup) -> Self {
        // In the sandbox's memory: it needs no clearing away.
        let manifests = Path::new(LAB_DIR).join("manifests");
        fs::create_dir_all(&manifests).unwrap();
        let options = SessionOptions {
            settle: PATIENCE,
            arguments: setup.arguments.iter().map(Into::into).collect(),
            layout: Some(setup.layout),
            proxy: setup.proxy,
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

    /// Removes a manifest.
    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.manifests.join(name)).unwrap();
    }

    /// Runs the pods that the manifests declare; nobody sends anything yet.
    pub(crate) async fn run_pods(&mut self) {
        let notes = self.session.run_pods().await.unwrap();
        assert!(notes.is_empty(), "{notes:?}");
        self.until_known().await;
    }

    /// Waits until the agents guard each pod. Who began a connection is known from then on; what
    /// was open earlier would be taken for the doing of whoever speaks next.
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

    /// The status of a node's agent.
    pub(crate) async fn status_of(&self, node: usize) -> Status {
        let answer = self.try_ask_of(node, "/status").await.unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    /// Runs the pods that the manifests declare, and measures until every connection is as the
    /// reference evaluator says; fails the test if that does not come.
    pub(crate) async fn agree(&mut self, what: &str) -> Matrix {
        let applied = self.session.apply().await.unwrap();
        assert!(applied.notes.is_empty(), "{what}: {:?}", applied.notes);
        let table = || render(&applied.matrix, None, Style { color: false });
        assert!(applied.matrix.all_good(), "{what}:\n{}", table());
        self.until_known().await;
        applied.matrix
    }

    /// What the agent answers at `path` of its HTTP server.
    pub(crate) async fn ask(&self, path: &str) -> String {
        self.try_ask(path).await.expect(path)
    }

    /// Like [`Self::ask`], but the agent may be gone.
    pub(crate) async fn try_ask(&self, path: &str) -> std::io::Result<String> {
        self.try_ask_of(0, path).await
    }

    async fn try_ask_of(&self, node: usize, path: &str) -> std::io::Result<String> {
        let path = path.to_owned();
        let asked = self.lab().nodes()[node].namespace().run(move || {
            let at = SocketAddr::from(([127, 0, 0, 1], AGENT_PORT));
            let mut stream = TcpStream::connect(at)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        asked.await.unwrap()
    }

    /// The value of the metric's series with exactly these labels; 0 where there is none.
    pub(crate) async fn metric(&self, series: &str) -> u64 {
        let text = self.ask("/metrics").await;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0, |value| value.trim().parse().unwrap())
    }

    #[expect(clippy::print_stderr, reason = "shown with the failure of the test")]
    fn say_what_the_agents_did(&self) {
        const LINES: usize = 60;
        for node in 0..self.lab().nodes().len() {
            let log = self.log_of(node);
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LINES)..];
            eprintln!("the end of the log of node {node}'s agent:\n{}", tail.join("\n"));
        }
    }

    /// What the first node's agent has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log_of(0)
    }

    fn log_of(&self, node: usize) -> String {
        // There is none where no agent has run.
        fs::read_to_string(self.log_file(node).unwrap()).unwrap_or_default()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.say_what_the_agents_did();
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

/// Asks again and again until the answer is yes; fails the test if that never comes.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < PATIENCE, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A pod's manifest; `labels` as in YAML's flow style, `ports` as `name/protocol/number`.
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

/// A pod's manifest as [`pod`] makes it, for a certain node.
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
