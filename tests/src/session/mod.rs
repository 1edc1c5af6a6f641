//! A lab, its agent and its manifests, kept together.

mod api;
mod declared;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use enforcer_core::model::Cluster;

use crate::api::ApiServer;
use crate::lab::{
    Agent, AgentOptions, AgentSource, LAB_DIR, Lab, Layout, Proxy, Sandbox, Topology,
};
use crate::matrix::{Matrix, Scope, measure, probes};
use crate::probe::{DEFAULT_TIMEOUT, http_status};
use api::Api;
use declared::Source;

pub use api::API_PORT;
pub use declared::Declared;

/// Where the agent serves metrics and health, on the node's loopback.
pub const AGENT_PORT: u16 = 9469;

/// How long a starting agent may take, and a stopping one.
const PATIENCE: Duration = Duration::from_secs(30);

/// A pause, so that the agent gets its share of a small machine.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(20);

/// How a session is set up.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// The directory of manifests.
    pub manifests: PathBuf,
    /// The `enforcer-lab` binary, which starts processes.
    pub spawner: PathBuf,
    /// The agent; `None`: nothing is to be enforced.
    pub agent: Option<PathBuf>,
    /// Further arguments for the agent.
    pub arguments: Vec<OsString>,
    /// Whether the agent's log goes to standard error instead of a file.
    pub show_log: bool,
    /// How long a probe waits for an answer before it counts as dropped.
    pub timeout: Duration,
    /// How long a change may take to show in every cell.
    pub settle: Duration,
    /// What is measured; `None`: what the policies make worth measuring.
    pub scope: Option<Scope>,
    /// How many nodes there are and how they are connected; `None`: one.
    pub layout: Option<Layout>,
    /// By which kind of rules Services work.
    pub proxy: Proxy,
    /// What the cluster is, instead of the manifests, for the lab and for the agent.
    pub api: Option<ApiServer>,
}

impl SessionOptions {
    /// The usual patience.
    #[must_use]
    pub fn new(manifests: PathBuf, spawner: PathBuf, agent: Option<PathBuf>) -> Self {
        Self {
            manifests,
            spawner,
            agent,
            arguments: Vec::new(),
            show_log: false,
            timeout: DEFAULT_TIMEOUT,
            settle: Duration::from_secs(2),
            scope: None,
            layout: None,
            proxy: Proxy::default_here(),
            api: None,
        }
    }
}

/// One topology's lab and its agents, one on each node.
#[derive(Debug)]
pub struct Session {
    lab: Lab,
    agents: Vec<Agent>,
    source: Source,
    options: SessionOptions,
}

/// What a look at the manifests led to.
#[derive(Debug)]
pub struct Applied {
    /// The declared cluster, its pods running in the lab.
    pub cluster: Cluster,
    /// What the reader of the manifests has to say.
    pub notes: Vec<String>,
    /// The last measurement.
    pub matrix: Matrix,
    /// How often everything was measured.
    pub rounds: usize,
    /// From the first look at the manifests to the last answer.
    pub took: Duration,
}

impl Session {
    /// Makes the lab and starts the agent in it; waits until the agent is ready.
    ///
    /// # Errors
    /// When the lab cannot be made, or the agent ends or is not ready in time.
    pub async fn start(
        sandbox: &Sandbox,
        topology: Topology,
        options: SessionOptions,
    ) -> anyhow::Result<Self> {
        let layout = options.layout.unwrap_or_else(|| Layout::one_node(topology));
        let lab = Lab::with_layout(sandbox, layout, Path::new(LAB_DIR)).await?;
        let source = match &options.api {
            Some(server) => Source::Api(Api::start(server.clone(), &lab).await?),
            None => Source::of_manifests(&options.manifests)?,
        };
        let mut session = Self { lab, agents: Vec::new(), source, options };
        session.start_agent().await?;
        Ok(session)
    }

    /// The API server goes away, with all its connections.
    ///
    /// # Errors
    /// When the cluster is not an API server's.
    pub async fn api_leaves(&mut self) -> anyhow::Result<()> {
        self.source.api().context("there is no API server")?.leave().await;
        Ok(())
    }

    /// It comes back.
    ///
    /// # Errors
    /// When the cluster is not an API server's, or its place is taken.
    pub async fn api_returns(&mut self) -> anyhow::Result<()> {
        self.source.api().context("there is no API server")?.listen(&self.lab).await
    }

    /// Further arguments for the agents that are started from now on.
    pub fn set_arguments(&mut self, arguments: Vec<OsString>) {
        self.options.arguments = arguments;
    }

    /// The lab.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The lab, to change it behind the manifests' back.
    pub fn lab_mut(&mut self) -> &mut Lab {
        &mut self.lab
    }

    /// The API server that is the cluster, if one is.
    #[must_use]
    pub fn api(&self) -> Option<&ApiServer> {
        self.options.api.as_ref()
    }

    /// The first node's agent, while it runs.
    #[must_use]
    pub fn agent(&self) -> Option<&Agent> {
        self.agents.first()
    }

    /// Where a node's agent writes its log; `None`: to standard error.
    #[must_use]
    pub fn log_file(&self, node: usize) -> Option<PathBuf> {
        let topology = self.lab.topology();
        let name = match node {
            0 => format!("agent-{topology}.log"),
            other => format!("agent-{topology}-{}.log", other + 1),
        };
        (!self.options.show_log).then(|| Path::new(LAB_DIR).join(name))
    }

    /// Starts the agents anew (after [`Self::stop_agent`]) and waits until they are ready.
    ///
    /// # Errors
    /// When an agent ends or is not ready in time.
    pub async fn start_agent(&mut self) -> anyhow::Result<()> {
        self.launch_agent().await?;
        if self.agents.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        while let Some(node) = self.unready().await? {
            if started.elapsed() > PATIENCE {
                bail!("the agent was not ready after {PATIENCE:?}{}", self.last_words(node));
            }
            tokio::time::sleep(BETWEEN_ROUNDS).await;
        }
        Ok(())
    }

    /// Starts the agents anew (after [`Self::stop_agent`]), and waits for nothing.
    ///
    /// # Errors
    /// When one can't be started.
    pub async fn launch_agent(&mut self) -> anyhow::Result<()> {
        let Some(binary) = &self.options.agent else { return Ok(()) };
        let source = match self.source.api() {
            Some(api) => AgentSource::Kubeconfig(api.kubeconfig().to_owned()),
            None => AgentSource::Manifests(self.options.manifests.clone()),
        };
        for node in 0..self.lab.nodes().len() {
            let how = AgentOptions {
                binary: binary.clone(),
                spawner: self.options.spawner.clone(),
                source: source.clone(),
                log: self.log_file(node),
                metrics_port: AGENT_PORT,
                arguments: self.options.arguments.clone(),
            };
            self.agents.push(Agent::start(&self.lab, node, &how).await?);
        }
        Ok(())
    }

    /// The first node whose agent is not ready.
    async fn unready(&mut self) -> anyhow::Result<Option<usize>> {
        self.check_agent()?;
        let address = SocketAddr::from(([127, 0, 0, 1], AGENT_PORT));
        for (index, node) in self.lab.nodes().iter().enumerate() {
            if http_status(node.namespace(), address, "/readyz").await? != Some(200) {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Fails when an agent has ended.
    ///
    /// # Errors
    /// With the agent's exit status and the end of its log.
    pub fn check_agent(&mut self) -> anyhow::Result<()> {
        let mut ended = None;
        for (node, agent) in self.agents.iter_mut().enumerate() {
            if let Some(status) = agent.ended()? {
                ended = Some((node, status));
            }
        }
        let Some((node, status)) = ended else { return Ok(()) };
        bail!("the agent ended with {status}{}", self.last_words(node))
    }

    /// The end of an agent's log, for error messages.
    fn last_words(&self, node: usize) -> String {
        const LINES: usize = 20;
        let log = self.log_file(node);
        let Some(text) = log.and_then(|path| std::fs::read_to_string(path).ok()) else {
            return String::new();
        };
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
        format!("; the end of its log:\n  {}", tail.join("\n  "))
    }

    /// Reads the manifests and starts and stops pods. Nothing is measured: nobody sends anything.
    /// Returns what the reader of the manifests has to say.
    ///
    /// # Errors
    /// When the lab fails.
    pub async fn run_pods(&mut self) -> anyhow::Result<Vec<String>> {
        Ok(self.declare().await?.notes)
    }

    /// Looks at what is declared, and starts and stops pods. The cluster that is returned is as it
    /// is with the lab's pods running.
    ///
    /// # Errors
    /// When the lab fails.
    pub async fn declare(&mut self) -> anyhow::Result<Declared> {
        let mut declared = self.source.rescan(&self.lab);
        if let Some(api) = self.source.api() {
            api.stop_replaced(&mut self.lab, &declared.cluster).await?;
        }
        self.lab.reconcile(&declared.pods).await.context("start and stop pods")?;
        if let Some(api) = self.source.api() {
            api.report(&self.lab, &declared.cluster);
        }
        declared.cluster = self.cluster(declared.cluster);
        self.lab.serve(self.options.proxy, &declared.cluster).await?;
        Ok(declared)
    }

    /// Reads the manifests, starts and stops pods, and measures until every cell is as expected
    /// or time is up. The last round counts, whatever it says: only a wrong result that does not
    /// last is forgiven, since the agent needs its milliseconds.
    ///
    /// # Errors
    /// When the lab fails or the agent has ended; never because of what was measured.
    pub async fn apply(&mut self) -> anyhow::Result<Applied> {
        let started = Instant::now();
        let declared = self.declare().await?;
        self.settle(declared, started).await
    }

    /// The same for what was declared at a time before. Nothing is lost if this is given up.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub async fn settle(
        &mut self,
        declared: Declared,
        started: Instant,
    ) -> anyhow::Result<Applied> {
        let cluster = declared.cluster;
        let scope = self.options.scope.unwrap_or_else(|| Scope::for_cluster(&cluster));
        let probes = probes(&self.lab, scope);
        let mut rounds = 0;
        let matrix = loop {
            let patience = self.options.timeout;
            let matrix = measure(&self.lab, &cluster, probes.clone(), patience).await?;
            rounds += 1;
            if matrix.all_good() || started.elapsed() > self.options.settle || probes.is_empty() {
                break matrix;
            }
            tokio::time::sleep(BETWEEN_ROUNDS).await;
        };
        self.check_agent()?;
        let took = started.elapsed();
        Ok(Applied { cluster, notes: declared.notes, matrix, rounds, took })
    }

    /// Fills in where the lab runs the pods, and the first node's addresses.
    fn cluster(&self, mut cluster: Cluster) -> Cluster {
        let pods = self.lab.pods().iter().map(|(id, pod)| (id, pod.addresses(), pod.node()));
        let host_pods = self.lab.host_pods().iter();
        let host_pods = host_pods.map(|(id, pod)| (id, pod.addresses(), pod.node()));
        for (id, addresses, node) in pods.chain(host_pods) {
            if let Some(declared) = cluster.pods.get_mut(id) {
                declared.addresses = addresses.iter().copied().collect();
                declared.node = self.lab.nodes().get(node).map(|node| node.site().name());
            }
        }
        cluster.node_addresses = self.lab.node_addresses().into_iter().collect();
        cluster
    }

    /// Ends the agent that was started first.
    ///
    /// # Errors
    /// When there is none, or it does not end by itself.
    pub async fn end_first_agent(&mut self) -> anyhow::Result<()> {
        if self.agents.is_empty() {
            bail!("no agent runs");
        }
        self.agents.remove(0).stop(PATIENCE).await?;
        Ok(())
    }

    /// Kills the agents without a word; the lab stays.
    ///
    /// # Errors
    /// When one can't be killed.
    pub async fn kill_agent(&mut self) -> anyhow::Result<()> {
        for agent in std::mem::take(&mut self.agents) {
            agent.kill().await?;
        }
        Ok(())
    }

    /// Ends the agents as an orderly stop would; the lab stays.
    ///
    /// # Errors
    /// When an agent does not end by itself, or not well.
    pub async fn stop_agent(&mut self) -> anyhow::Result<()> {
        for agent in std::mem::take(&mut self.agents) {
            match agent.stop(PATIENCE).await? {
                Some(status) if !status.success() => bail!("the agent ended with {status}"),
                _ => {}
            }
        }
        Ok(())
    }
}
