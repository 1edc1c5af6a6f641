//! A lab with its agents and the source of its cluster, kept in step.
//!
//! Here belongs the role of a cluster's controllers: which pods run, and what is reported of them.

mod api;
mod controllers;
mod declared;
mod guard;
mod options;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use enforcer_core::model::{Cluster, PodId};

use crate::api::{ApiServer, Store};
use crate::host::patient;
use crate::lab::{Agent, AgentOptions, AgentSource, LAB_DIR, Lab, Layout, Sandbox, Topology};
use crate::matrix::{Matrix, Scope, measure, probes};
use crate::probe::{DEFAULT_TIMEOUT, http_status};
use api::Api;
use declared::Source;

pub use api::API_PORT;
pub(crate) use api::node_kubeconfig;
pub(crate) use controllers::AGENT_LABEL;
pub use declared::Declared;
pub use options::SessionOptions;

/// The port of the agent's metrics and health on the node's loopback.
pub const AGENT_PORT: u16 = 9469;

/// The time for an agent to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A pause that leaves CPU time to the agent on a small machine.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(20);

/// One topology's lab and its agents, one on each node.
#[derive(Debug)]
pub struct Session {
    lab: Lab,
    agents: Vec<Agent>,
    source: Source,
    options: SessionOptions,
}

/// The result of applying the declared cluster.
#[derive(Debug)]
pub struct Applied {
    /// The declared cluster, its pods running in the lab.
    pub cluster: Cluster,
    /// Mistakes in the manifests, and unsupported objects.
    pub notes: Vec<String>,
    /// The number of new errors in the manifests.
    pub errors: usize,
    /// The last measurement.
    pub matrix: Matrix,
    /// The number of measurements.
    pub rounds: usize,
    /// The time from reading the manifests to the last answer.
    pub took: Duration,
}

impl Session {
    /// Creates the lab, starts the agents, and waits until they are ready.
    ///
    /// # Errors
    /// The lab can't be created, or an agent ends or is not ready in time.
    pub async fn start(
        sandbox: &Sandbox,
        topology: Topology,
        options: SessionOptions,
    ) -> anyhow::Result<Self> {
        let layout = options.layout.unwrap_or_else(|| Layout::one_node(topology));
        let mut lab = Lab::with_layout(sandbox, layout, Path::new(LAB_DIR)).await?;
        lab.set_access_log(options.access_log.clone());
        let source = match &options.api {
            Some(server) => {
                if options.controllers && options.agent.is_some() {
                    controllers::declare_agents(server.store())?;
                }
                Source::Api(Api::start(server.clone(), &lab).await?)
            }
            None => Source::of_manifests(&options.manifests)?,
        };
        let mut session = Self { lab, agents: Vec::new(), source, options };
        session.start_agent().await?;
        if session.controlled().is_some() {
            session.declare().await?;
        }
        Ok(session)
    }

    /// Stops the API server and cuts its connections.
    pub async fn api_leaves(&mut self) -> anyhow::Result<()> {
        self.source.api().context("there is no API server")?.leave().await;
        Ok(())
    }

    /// Starts the API server again.
    pub async fn api_returns(&mut self) -> anyhow::Result<()> {
        self.source.api().context("there is no API server")?.listen(&self.lab).await
    }

    /// Sets further arguments for agents started later.
    pub fn set_arguments(&mut self, arguments: Vec<OsString>) {
        self.options.arguments = arguments;
    }

    /// Sets the agent that is started later.
    pub fn set_agent(&mut self, agent: PathBuf) {
        self.options.agent = Some(agent);
    }

    /// The lab.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The lab, to change it independently of the manifests.
    pub fn lab_mut(&mut self) -> &mut Lab {
        &mut self.lab
    }

    /// The API server, if one holds the cluster.
    pub fn api(&self) -> Option<&ApiServer> {
        self.options.api.as_ref()
    }

    /// The first node's agent, while it runs.
    pub fn agent(&self) -> Option<&Agent> {
        self.agents.first()
    }

    /// The log file of a node's agent; `None`: standard error.
    pub fn log_file(&self, node: usize) -> Option<PathBuf> {
        let topology = self.lab.topology();
        let name = match node {
            0 => format!("agent-{topology}.log"),
            other => format!("agent-{topology}-{}.log", other + 1),
        };
        (!self.options.show_log).then(|| Path::new(LAB_DIR).join(name))
    }

    /// Starts the agents (again) and waits until they are ready.
    ///
    /// # Errors
    /// An agent ends or is not ready in time.
    pub async fn start_agent(&mut self) -> anyhow::Result<()> {
        self.launch_agent().await?;
        if self.agents.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        while let Some(node) = self.unready().await? {
            let patience = patient(self.options.ready);
            if started.elapsed() > patience {
                bail!("the agent was not ready after {patience:?}{}", self.end_of_log(node));
            }
            tokio::time::sleep(BETWEEN_ROUNDS).await;
        }
        Ok(())
    }

    /// Starts the agents (again) without waiting.
    pub async fn launch_agent(&mut self) -> anyhow::Result<()> {
        let Some(binary) = &self.options.agent else { return Ok(()) };
        let source = match self.source.api() {
            Some(api) => AgentSource::Kubeconfig(api.kubeconfig().to_owned()),
            None => AgentSource::Manifests(self.options.manifests.clone()),
        };
        for node in 0..self.lab.nodes().len() {
            let options = AgentOptions {
                binary: binary.clone(),
                spawner: self.options.spawner.clone(),
                source: source.clone(),
                log: self.log_file(node),
                metrics_port: AGENT_PORT,
                arguments: self.options.arguments.clone(),
            };
            self.agents.push(Agent::start(&self.lab, node, &options).await?);
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

    /// Checks that all agents run.
    ///
    /// # Errors
    /// An agent's exit status and the end of its log.
    pub fn check_agent(&mut self) -> anyhow::Result<()> {
        let mut ended = None;
        for (node, agent) in self.agents.iter_mut().enumerate() {
            if let Some(status) = agent.ended()? {
                ended = Some((node, status));
            }
        }
        let Some((node, status)) = ended else { return Ok(()) };
        bail!("the agent ended with {status}{}", self.end_of_log(node))
    }

    /// The end of an agent's log, for error messages.
    fn end_of_log(&self, node: usize) -> String {
        const LINES: usize = 20;
        let log = self.log_file(node);
        let Some(text) = log.and_then(|path| std::fs::read_to_string(path).ok()) else {
            return String::new();
        };
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
        format!("; the end of its log:\n  {}", tail.join("\n  "))
    }

    /// Starts and stops pods as declared. Returns the notes of [`Declared`].
    pub async fn run_pods(&mut self) -> anyhow::Result<Vec<String>> {
        Ok(self.declare().await?.notes)
    }

    /// Reads the declared cluster, and starts and stops pods, without any measurement. The returned
    /// cluster contains the running pods' addresses.
    pub async fn declare(&mut self) -> anyhow::Result<Declared> {
        let store = self.controlled().cloned();
        if let Some(store) = &store {
            controllers::before_pods(store)?;
        }
        let mut declared = self.source.rescan(&self.lab);
        if let Some(api) = self.source.api() {
            api.stop_replaced(&mut self.lab, &declared.cluster).await?;
        }
        self.lab.reconcile(&declared.pods).await.context("start and stop pods")?;
        if let Some(api) = self.source.api() {
            api.report(&self.lab, &declared.cluster);
        }
        if let Some(store) = &store {
            controllers::after_pods(store)?;
        }
        declared.cluster = self.cluster(declared.cluster);
        self.lab.serve(self.options.proxy, &declared.cluster).await?;
        Ok(declared)
    }

    /// Reads the declared cluster, starts and stops pods, and measures until every cell is as
    /// expected or time is up. The last round counts: wrong results are tolerated only while the
    /// agent still processes the change.
    ///
    /// # Errors
    /// The lab fails or an agent has ended; never a measured result.
    pub async fn apply(&mut self) -> anyhow::Result<Applied> {
        let started = Instant::now();
        let declared = self.declare().await?;
        self.settle(declared, started).await
    }

    /// Measures after [`Self::declare`]. The future may be dropped at any time.
    pub async fn settle(
        &mut self,
        declared: Declared,
        started: Instant,
    ) -> anyhow::Result<Applied> {
        let Declared { cluster, notes, errors, .. } = declared;
        let scope = self.options.scope.unwrap_or_else(|| Scope::for_cluster(&cluster));
        let probes = probes(&self.lab, scope);
        let mut rounds = 0;
        let matrix = loop {
            let unguarded = self.unguarded().await?;
            let mut matrix =
                measure(&self.lab, &cluster, probes.clone(), patient(DEFAULT_TIMEOUT)).await?;
            matrix.mark_unguarded(unguarded);
            rounds += 1;
            if matrix.all_good()
                || started.elapsed() > patient(self.options.settle)
                || probes.is_empty()
            {
                break matrix;
            }
            tokio::time::sleep(BETWEEN_ROUNDS).await;
        };
        self.check_agent()?;
        let took = started.elapsed();
        Ok(Applied { cluster, notes, errors, matrix, rounds, took })
    }

    /// The objects that the lab's controllers act on.
    fn controlled(&self) -> Option<&Store> {
        self.options.api.as_ref().filter(|_| self.options.controllers).map(ApiServer::store)
    }

    /// The pods whose interfaces no agent guards. Empty if no agent runs: then nothing is guarded on
    /// purpose.
    async fn unguarded(&self) -> anyhow::Result<BTreeSet<PodId>> {
        if self.agents.is_empty() {
            return Ok(BTreeSet::new());
        }
        Ok(guard::unguarded(&self.lab, AGENT_PORT).await?)
    }

    /// Adds the running pods' addresses and nodes, and the first node's addresses.
    fn cluster(&self, mut cluster: Cluster) -> Cluster {
        for (id, addresses, node) in self.lab.running() {
            if let Some(declared) = cluster.pods.get_mut(id) {
                declared.addresses = addresses.iter().copied().collect();
                declared.node = self.lab.nodes().get(node).map(|node| node.site().name().into());
            }
        }
        cluster.node_addresses = self.lab.node_addresses().into_iter().collect();
        cluster
    }

    /// Stops the first of the running agents.
    pub async fn end_first_agent(&mut self) -> anyhow::Result<()> {
        if self.agents.is_empty() {
            bail!("no agent is running");
        }
        self.agents.remove(0).stop(PATIENCE).await?;
        Ok(())
    }

    /// Kills the agents by SIGKILL; the lab stays.
    pub async fn kill_agent(&mut self) -> anyhow::Result<()> {
        for agent in std::mem::take(&mut self.agents) {
            agent.kill().await?;
        }
        Ok(())
    }

    /// Stops the agents in an orderly way; the lab stays.
    ///
    /// # Errors
    /// An agent does not end in time, or ends with an error.
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
