//! The plugin's command line.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::super::audit::AuditView;
use super::super::flows::FlowView;
use super::super::format::Format;
use super::super::inspect::{self, DescribeArgs, DiffArgs, ExplainArgs, SourceArgs};
use super::super::suggest::SuggestView;
use super::super::trace::{self, TraceView};
use crate::source::kubernetes::ClientOptions;

/// The agents of a Kubernetes cluster.
///
/// They are asked through the API server's port-forward with your own rights: list pods in the agents'
/// namespace, and get pods/portforward there (Kubernetes 1.35 and later: create, too).
#[derive(Debug, Parser)]
#[command(name = "kubectl-enforcer", bin_name = "kubectl enforcer", version)]
#[command(
    arg_required_else_help = true,
    after_help = "Install:
  ln -s \"$(command -v enforcer)\" ~/.local/bin/kubectl-enforcer   # on the PATH

Exit codes: 0 success, also if some agents did not answer, which is reported; 2 error. problems, audit,
explain, diff and trace have their own.

Examples:
  kubectl enforcer problems
  kubectl enforcer status
  kubectl enforcer drops --follow --namespace shop
  kubectl enforcer flows --namespace shop
  kubectl enforcer audit --namespace shop
  kubectl enforcer explain shop/web-0 shop/svc/db:5432
  kubectl enforcer describe shop/db-0
  kubectl enforcer diff cluster ./policies
  kubectl enforcer trace shop/web-0 shop/svc/db:5432
  kubectl enforcer suggest shop > policies.yaml
  kubectl enforcer ui"
)]
pub struct PluginCli {
    /// The cluster and its agents.
    #[command(flatten)]
    pub agents: AgentsArgs,
    /// Log filter, as of `enforcer`.
    #[arg(long, global = true, default_value = "warn", value_name = "FILTER")]
    pub log: String,
    /// The subcommand.
    #[command(subcommand)]
    pub command: PluginCommand,
}

/// A question to all agents, as an argument of `enforcer agents`.
#[derive(Debug, Args)]
pub struct Questions {
    /// The cluster and its agents.
    #[command(flatten)]
    pub agents: AgentsArgs,
    /// The subcommand.
    #[command(subcommand)]
    pub command: PluginCommand,
}

/// The cluster and its agents.
#[derive(Debug, Clone, Args)]
pub struct AgentsArgs {
    /// Namespace of the agents.
    #[arg(long, global = true, default_value = "enforcer-system", value_name = "NAME")]
    pub agents_namespace: String,
    /// Labels of the agents' pods.
    #[arg(
        long,
        global = true,
        default_value = "app.kubernetes.io/name=enforcer,app.kubernetes.io/component=agent",
        value_name = "SELECTOR"
    )]
    pub agents_selector: String,
    /// Port of the agents' status on their loopback.
    #[arg(long, global = true, default_value_t = 9469, value_name = "PORT")]
    pub agents_port: u16,
    /// Ask only the agent of this node.
    #[arg(long, global = true, value_name = "NAME")]
    pub node: Option<String>,
    /// Seconds that an agent may take to answer.
    #[arg(long, global = true, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600), value_name = "SECONDS")]
    pub timeout: u64,
    /// Kubeconfig with the API server and the credentials [default: KUBECONFIG, else ~/.kube/config].
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<std::path::PathBuf>,
    /// Context of the kubeconfig [default: the current one].
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
}

/// The help of a subcommand of `enforcer`, as kubectl's plugin has it: no agent is on this machine.
fn of_plugin(help: &str) -> String {
    let lines = help.lines().filter(|it| !it.contains(" --agent "));
    let lines = lines.map(|it| match it.strip_prefix("  enforcer ") {
        Some(rest) => format!("  kubectl enforcer {rest}"),
        None => it.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Show each node's agent: pods, isolation, drops, and what needs attention.
    #[command(
        after_help = "INGRESS and EGRESS: pods that are isolated. DROPPED: packets since the \
agents started.

Examples:
  kubectl enforcer status
  kubectl enforcer status --node NODE --output json"
    )]
    Status {
        /// Output format; json is one document.
        #[arg(long, short, value_enum, default_value_t)]
        output: Format,
    },
    /// List everything that needs attention; exit code 1 if there is something.
    #[command(after_help = "Exit codes: 0 nothing, 1 something, 2 error.

Examples:
  kubectl enforcer problems
  kubectl enforcer problems --output json")]
    Problems {
        /// Output format; json is one document.
        #[arg(long, short, value_enum, default_value_t)]
        output: Format,
    },
    /// Show the pods of the cluster by their traffic and drops, again and again.
    #[command(after_help = "Examples:
  kubectl enforcer top
  kubectl enforcer top --count 1 --pods 10")]
    Top(TopView),
    /// Show the last dropped packets, with the policies behind them.
    #[command(after_help = "Examples:
  kubectl enforcer drops
  kubectl enforcer drops --follow --namespace shop
  kubectl enforcer drops --output json")]
    Drops(DropsView),
    /// Show who talks to whom, allowed and denied, and which policies are used.
    #[command(after_help = "Examples:
  kubectl enforcer flows --namespace shop
  kubectl enforcer flows --policies
  kubectl enforcer flows --output mermaid")]
    Flows(FlowView),
    /// Show which connections the policies in audit would deny or allow; exit code 1 if some would be
    /// denied.
    #[command(after_help = "Exit codes: 0 no connection would be denied, 1 some would, 2 error.

Examples:
  kubectl enforcer audit --namespace shop
  kubectl enforcer audit --namespace shop --output rules > policies.yaml")]
    Audit(Box<AuditView>),
    /// Suggest policies that allow what was observed and nothing else.
    #[command(after_help = "Examples:
  kubectl enforcer suggest shop > policies.yaml
  kubectl enforcer suggest shop --from flows.jsonl")]
    Suggest(Box<SuggestView>),
    /// Explain why connections are allowed or denied, and whether the agents have the same policies.
    #[command(after_help = of_plugin(inspect::EXPLAIN_HELP))]
    Explain(Box<ExplainArgs>),
    /// Describe a policy in sentences, a pod's protection, or the coverage of namespaces; by the API server.
    #[command(after_help = of_plugin(inspect::DESCRIBE_HELP))]
    Describe(Box<DescribeArgs>),
    /// Show the connections that a change of policies opens and closes; by the API server.
    #[command(after_help = of_plugin(inspect::DIFF_HELP))]
    Diff(Box<DiffArgs>),
    /// Show what the loaded programs of the pods' nodes do with a packet, beside the policies' decision.
    #[command(after_help = of_plugin(trace::HELP))]
    Trace(TraceView),
    /// Serve a web page on loopback: who may reach whom, and what the agents of all nodes saw.
    #[command(
        after_help = "The page is served until Ctrl-C. Its URL has a random token, without which it shows \
nothing. The agents are asked by port-forward, with your own rights.

Examples:
  kubectl enforcer ui
  kubectl enforcer ui --port 8123 --node node-1"
    )]
    Ui(Box<UiView>),
}

/// The arguments of `ui`.
#[derive(Debug, Args)]
pub struct UiView {
    /// Port on loopback [default: a free one].
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "PORT")]
    pub port: u16,
    /// Where policies, pods and Services are read.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// The arguments of `top`.
#[derive(Debug, Args)]
pub struct TopView {
    /// Seconds between two readings.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    pub interval: u64,
    /// End after this many intervals [default: never].
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Show only this many pods.
    #[arg(long, default_value_t = 30, value_name = "N")]
    pub pods: usize,
    /// Output format; json is one document per interval.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// The arguments of `drops`.
#[derive(Debug, Args)]
pub struct DropsView {
    /// Wait for further drops.
    #[arg(long, short)]
    pub follow: bool,
    /// Only drops with an end in this namespace.
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Output format; json is one object per line.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

impl AgentsArgs {
    pub(super) fn client(&self) -> ClientOptions {
        ClientOptions { kubeconfig: self.kubeconfig.clone(), context: self.context.clone() }
    }

    pub(super) const fn patience(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}
