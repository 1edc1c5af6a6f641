//! The agents of a cluster, and their answers.

use std::time::Duration;

use anyhow::Context as _;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::ask::body_of;
use super::super::error::error_line;
use super::arguments::AgentsArgs;
use crate::source::kubernetes::Connection;

/// Agents that are asked at the same time: each costs the API server and a kubelet a connection.
const AT_ONCE: usize = 32;
/// The longest answer in bytes.
const LONGEST: u64 = 64 << 20;

/// The agents of a cluster.
pub(super) struct Agents {
    api: Api<Pod>,
    list: Vec<Agent>,
    port: u16,
    patience: Duration,
}

/// An agent.
#[derive(Debug, Clone)]
pub(super) struct Agent {
    pub(super) node: String,
    pod: String,
    /// Why it can't be asked.
    absent: Option<String>,
}

/// The answer of an agent, or why there is none.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) node: String,
    pub(super) result: Result<String, String>,
}

impl Agents {
    /// Lists the agents by their labels.
    pub(super) async fn find(arguments: &AgentsArgs) -> anyhow::Result<Self> {
        let client: Client = Connection::find(&arguments.client()).await?.client()?;
        let namespace = arguments.agents_namespace.as_str();
        let api: Api<Pod> = Api::namespaced(client, namespace);
        let selection = ListParams::default().labels(&arguments.agents_selector);
        let pods = tokio::time::timeout(arguments.patience(), api.list(&selection)).await;
        let pods = pods.context("the API server did not answer in time")?;
        let pods = pods.with_context(|| format!("cannot list the agents of {namespace}"))?;
        let mut list: Vec<Agent> = pods.items.iter().map(Agent::of).collect();
        list.sort_by(|one, two| (&one.node, &one.pod).cmp(&(&two.node, &two.pod)));
        if let Some(node) = &arguments.node {
            list.retain(|it| it.node == *node);
        }
        if list.is_empty() {
            let node = arguments.node.as_ref().map(|it| format!(" on node {it}"));
            anyhow::bail!(
                "no pod of namespace {namespace} is an agent{} ({}): set --agents-namespace and \
                 --agents-selector",
                node.unwrap_or_default(),
                arguments.agents_selector
            );
        }
        let (port, patience) = (arguments.agents_port, arguments.patience());
        Ok(Self { api, list, port, patience })
    }

    /// Asks every agent for the same path; the answers are in the order of the nodes.
    pub(super) async fn ask(&self, path: &str) -> Vec<Answer> {
        self.ask_some(|_| true, path).await
    }

    /// Whether a node has an agent.
    pub(super) fn has(&self, node: &str) -> bool {
        self.list.iter().any(|it| it.node == node)
    }

    /// Asks the agents of these nodes for the same path.
    pub(super) async fn ask_some(&self, wanted: impl Fn(&str) -> bool, path: &str) -> Vec<Answer> {
        self.ask_those(wanted, |_| path.to_owned()).await
    }

    /// Asks every agent; `path`: by the name of the node.
    pub(super) async fn ask_each(&self, path: impl Fn(&str) -> String) -> Vec<Answer> {
        self.ask_those(|_| true, path).await
    }

    async fn ask_those(
        &self,
        wanted: impl Fn(&str) -> bool,
        path: impl Fn(&str) -> String,
    ) -> Vec<Answer> {
        let asked = self.list.iter().filter(|it| wanted(&it.node)).map(|agent| {
            let path = path(&agent.node);
            async move {
                let result = self.ask_one(agent, &path).await;
                Answer { node: agent.node.clone(), result }
            }
        });
        let asked: Vec<_> = asked.collect();
        stream::iter(asked).buffered(AT_ONCE).collect().await
    }

    async fn ask_one(&self, agent: &Agent, path: &str) -> Result<String, String> {
        if let Some(why) = &agent.absent {
            return Err(format!("{}: {why}", agent.pod));
        }
        let seconds = self.patience.as_secs();
        match tokio::time::timeout(self.patience, self.exchange(agent, path)).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(error)) => Err(format!("{}: {}", agent.pod, error_line(&error))),
            Err(_) => Err(format!("{}: no answer within {seconds} s", agent.pod)),
        }
    }

    async fn exchange(&self, agent: &Agent, path: &str) -> anyhow::Result<String> {
        let mut forward = self.api.portforward(&agent.pod, &[self.port]).await?;
        let mut stream = forward.take_stream(self.port).context("there is no stream")?;
        let error = forward.take_error(self.port);
        // HTTP/1.0: its answers end with the connection and are not chunked.
        let host = format!("127.0.0.1:{}", self.port);
        let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(LONGEST).read_to_end(&mut answer).await?;
        forward.abort();
        if answer.is_empty() {
            let error = match error {
                Some(error) => error.await,
                None => None,
            };
            anyhow::bail!("{}", error.unwrap_or_else(|| "the connection was closed".to_owned()));
        }
        body_of(&String::from_utf8(answer)?, &host, path)
    }
}

impl Agent {
    fn of(pod: &Pod) -> Self {
        let spec = pod.spec.as_ref();
        let phase = pod.status.as_ref().and_then(|it| it.phase.clone()).unwrap_or_default();
        let node = spec.and_then(|it| it.node_name.clone());
        let absent = match (&node, phase.as_str()) {
            (None, _) => Some("it is not assigned to a node yet".to_owned()),
            (Some(_), "Running") => None,
            (Some(_), phase) => Some(format!("it is not running ({phase})")),
        };
        let pod = pod.metadata.name.clone().unwrap_or_default();
        Self { node: node.unwrap_or_default(), pod, absent }
    }
}
