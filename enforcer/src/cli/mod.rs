//! The command line: options and subcommands.
//!
//! Belongs here: parsing of arguments, and output to the terminal. Does not belong here: the work of
//! the subcommands `run` ([`crate::agent`]), `check` ([`crate::check`]) and `cleanup`
//! ([`crate::kernel`]).

mod agent;
pub mod ask;
pub mod audit;
pub mod check;
pub mod cleanup;
mod completions;
mod connection;
pub mod drops;
mod error;
pub mod flows;
mod format;
pub mod inspect;
pub mod page;
pub mod plugin;
mod screen;
pub mod status;
pub mod suggest;
mod table;
pub mod top;
pub mod trace;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use enforcer_core::model::DenyWith;
use enforcer_ebpf::contract::table::Limits;

pub use agent::AgentArgs;
use agent::DEFAULT_STATUS;
pub use completions::completions;
pub use error::error_line;
pub use format::Format;
pub use screen::{Screen, is_reader_gone, screen};

use crate::agent::{
    Attach, FlowLogTarget, KubeWriteOptions, Listeners, Options, SourceOptions, UnknownPod,
};
use crate::cni;
use crate::kernel::{Lifetimes, Settings, TableSizes};
use crate::nri;
use crate::observe::{LogFormat, PodMetrics};
use crate::source::kubernetes::ClientOptions;

/// Kubernetes NetworkPolicy, enforced by eBPF beside any CNI.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
    /// Log filter: error, warn, info, debug, trace, off, or a list like enforcer::drops=off,info.
    #[arg(
        long,
        global = true,
        env = "ENFORCER_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub log: String,
    /// Log format.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// The default directory of pins.
pub const DEFAULT_PINS: &str = "/sys/fs/bpf/enforcer";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Enforce policies on this node until SIGTERM or SIGINT.
    #[command(after_help = "Examples:
  enforcer run                   # in a pod of a DaemonSet, with NODE_NAME set
  enforcer run --kubeconfig ~/.kube/config --context test --node-name node-1
  enforcer run --manifests ./policies --log enforcer::drops=off,info")]
    Run(Box<RunArgs>),
    /// Check manifests and report mistakes, with explanations and corrections.
    #[command(after_help = check::HELP)]
    Check(check::CheckArgs),
    /// Explain why connections are allowed or denied, and what is missing.
    #[command(after_help = inspect::EXPLAIN_HELP)]
    Explain(Box<inspect::ExplainArgs>),
    /// Show what the loaded programs do with a packet, beside the policies' decision.
    #[command(after_help = trace::HELP)]
    Trace(Box<trace::TraceArgs>),
    /// Describe a policy in sentences, a pod's protection, or the coverage of namespaces.
    #[command(after_help = inspect::DESCRIBE_HELP)]
    Describe(Box<inspect::DescribeArgs>),
    /// Show the connections that a change of policies opens and closes.
    #[command(after_help = inspect::DIFF_HELP)]
    Diff(Box<inspect::DiffArgs>),
    /// Serve a web page on loopback: who may reach whom, why, and what a change would change.
    #[command(after_help = page::UI_HELP)]
    Ui(Box<page::UiArgs>),
    /// Write the web page with its data to one HTML file.
    #[command(after_help = page::REPORT_HELP)]
    Report(Box<page::ReportArgs>),
    /// Show what the agent on this node does: first what needs attention, then pods and tables.
    #[command(after_help = status::HELP)]
    Status(status::StatusArgs),
    /// Show the pods of this node by their traffic and drops, again and again.
    #[command(after_help = top::HELP)]
    Top(top::TopArgs),
    /// Show the last dropped packets of this node, with the policies behind them.
    #[command(after_help = drops::HELP)]
    Drops(drops::DropsArgs),
    /// Show which connections the policies in audit would deny or allow.
    #[command(after_help = audit::HELP)]
    Audit(Box<audit::AuditArgs>),
    /// Show who talks to whom on this node, allowed and denied, and which policies are used.
    #[command(after_help = flows::HELP)]
    Flows(flows::FlowsArgs),
    /// Suggest policies that allow what was observed and nothing else.
    #[command(after_help = suggest::HELP)]
    Suggest(Box<suggest::SuggestArgs>),
    /// Print the log filter of the agent on this node, or change it to FILTER first. A change lasts
    /// until the next one or the agent's end.
    #[command(after_help = "Examples:
  enforcer log-level
  enforcer log-level debug
  enforcer log-level enforcer::drops=off,info")]
    LogLevel {
        /// Log filter: error, warn, info, debug, trace, off, or a list like enforcer::drops=off,info.
        #[arg(value_name = "FILTER")]
        filter: Option<String>,
        /// The agent.
        #[command(flatten)]
        agent: AgentArgs,
    },
    /// Remove all enforcement from this node: programs, tables and pins. Stop the agent first.
    #[command(after_help = "Example:
  enforcer cleanup --output json")]
    Cleanup(CleanupArgs),
    /// Do nothing until SIGTERM or SIGINT. Keeps the pods of the clean-up running.
    #[command(after_help = "Example:
  enforcer pause")]
    Pause,
    /// Ask all agents of the cluster, like `kubectl enforcer`.
    #[command(after_help = "Example:
  enforcer agents problems")]
    Agents(Box<plugin::Questions>),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:
  enforcer completions bash > /etc/bash_completion.d/enforcer")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// The arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Read policies, pods, namespaces and services from the manifests in this directory instead of the
    /// Kubernetes API, and watch it for changes; may be repeated.
    #[arg(long, value_name = "DIR")]
    pub manifests: Vec<PathBuf>,
    /// Kubeconfig with the API server and the credentials [default: KUBECONFIG, else the cluster of
    /// this pod, else ~/.kube/config].
    #[arg(long, value_name = "FILE", conflicts_with = "manifests")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: the current one].
    #[arg(long, value_name = "NAME", conflicts_with = "manifests")]
    pub context: Option<String>,
    /// Name of this node: pods with another spec.nodeName are not local [default: the host name]. The
    /// Kubernetes API must have a node with this name.
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Create Kubernetes Events on policies that select a pod of this node and have a mistake or do not
    /// fit into the tables; requires the permission to create events.
    #[arg(long, conflicts_with = "manifests")]
    pub events: bool,
    /// Remove the taint with this key from this node once policies are enforced, for example
    /// enforcer/agent-not-ready; requires the permission to get and patch nodes.
    #[arg(long, value_name = "KEY", conflicts_with = "manifests")]
    pub remove_taint: Option<String>,
    /// Address of /metrics, /healthz and /readyz; "off" disables them.
    #[arg(long, default_value = DEFAULT_STATUS, value_name = "ADDRESS:PORT")]
    pub metrics: String,
    /// Loopback address of /status, /drops, /flows, /explain and /trace, which show pods, addresses and
    /// policies, and of /log, which changes the log filter; "off" disables them [default: the address of --metrics if that is on
    /// loopback, else its port on 127.0.0.1].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub status: Option<String>,
    /// Loopback address of the web page of `enforcer ui`, with this agent's state, flows and drops, such as
    /// 127.0.0.1:9470; "off" disables it.
    #[arg(long, default_value = "off", value_name = "ADDRESS:PORT")]
    pub page: String,
    /// Append new flows to this file as lines of JSON, see docs/json.md; "-": standard output. At 64 MiB the
    /// file is renamed to FILE.1, which replaces an older one.
    #[arg(long, value_name = "FILE")]
    pub flow_log: Option<PathBuf>,
    /// Labels of the packet metrics, besides direction and reason. A node with 250 pods in 30
    /// namespaces has about 4,500 series by pod, 540 by namespace, 43 by node; at most 25,000, 3,000
    /// and 100.
    #[arg(long, value_enum, default_value_t = PodMetrics::Namespace, value_name = "BY")]
    pub pod_metrics: PodMetrics,
    /// Allow pods to send from foreign addresses (pods that route for others).
    #[arg(long)]
    pub allow_any_source: bool,
    /// Traffic that passes at a pod's interface until the pod is known.
    #[arg(long, value_enum, default_value_t = UnknownPod::Auto)]
    pub unknown_pod: UnknownPod,
    /// Enforce nothing: report what policies would deny and allow (see `enforcer audit`). For some
    /// policies only, annotate them or their namespace with enforcer.io/audit="true".
    #[arg(long)]
    pub audit: bool,
    /// What senders get for packets that policies deny: "drop", nothing; "reject", a TCP reset or an ICMP
    /// error, if the sender is a pod. The annotation enforcer.io/deny-with of a namespace overrides it for
    /// what its pods deny. Rejecting requires CAP_NET_RAW.
    #[arg(long, default_value = "drop", value_parser = deny_with(), value_name = "ANSWER")]
    pub deny_with: DenyWith,
    /// Directory of the container runtime's CNI results, which name interfaces' pods; "off": not used.
    #[arg(long, default_value = cni::DEFAULT_DIRECTORY, value_name = "DIR")]
    pub cni_results: PathBuf,
    /// Use of NRI, the container runtime's plugins, to delay pods until their policy is programmed.
    #[arg(long, value_enum, default_value_t = nri::Mode::Auto)]
    pub nri: nri::Mode,
    /// NRI socket of the container runtime.
    #[arg(long, default_value = nri::DEFAULT_SOCKET, value_name = "PATH")]
    pub nri_socket: PathBuf,
    /// Interface that leads off the node; may be repeated [default: all that lead neither to a pod
    /// nor to the node itself].
    #[arg(long = "uplink", value_name = "INTERFACE")]
    pub uplinks: Vec<String>,
    /// Directory in a BPF file system for what outlives the agent; "off": enforcement ends with it.
    #[arg(long, default_value = DEFAULT_PINS, value_name = "DIR")]
    pub pins: PathBuf,
    /// Hooks of the programs: TCX requires Linux 6.6 or newer.
    #[arg(long, value_enum, default_value_t = Attach::Auto)]
    pub attach: Attach,
    /// The 15 adjacent bits of the packet mark that identify the sender.
    #[arg(long, default_value = "0xfffe0000", value_parser = mark_mask, value_name = "MASK")]
    pub mark_mask: u32,
    /// Idle timeouts of flows in seconds, by stage; replies pass until then. Others keep their defaults.
    #[arg(long, default_value_t = Lifetimes::DEFAULT, value_name = "STAGE=SECONDS,…")]
    pub flow_timeouts: Lifetimes,
    /// Seconds between two sweeps of the drift check, which compares verdicts of the kernel's tables with
    /// the policies; 0 disables it.
    #[arg(long, default_value = "2", value_parser = seconds, value_name = "SECONDS")]
    pub drift_interval: Duration,
    /// Log each frame that the programs cannot parse; for debugging, requires --log debug.
    #[arg(long)]
    pub log_programs: bool,
    /// Sizes of the tables that policies fill, by the names in messages about full tables; others
    /// keep their defaults. 1,024 bytes an element; port sets 1,024, IPv6 leaves 40.
    #[arg(long, default_value_t, value_name = "TABLE=N,…")]
    pub table_sizes: TableSizes,
    /// Maximum number of flows per address family.
    #[arg(long, default_value_t = Limits::DEFAULT.flows, value_parser = clap::value_parser!(u32).range(64..), value_name = "N")]
    pub flows: u32,
}

/// The arguments of `cleanup`.
#[derive(Debug, Args)]
pub struct CleanupArgs {
    /// Directory of pins, as in `run`.
    #[arg(long, default_value = DEFAULT_PINS, value_name = "DIR")]
    pub pins: PathBuf,
    /// Output format; json is one document.
    #[arg(long, value_enum, default_value_t)]
    pub output: Format,
}

impl RunArgs {
    /// The agent's options.
    ///
    /// # Errors
    /// An address is invalid, or the host name is not UTF-8.
    pub fn options(self) -> anyhow::Result<Options> {
        let node_name = match self.node_name {
            Some(name) => name,
            None => nix::unistd::gethostname()?.into_string().map_err(|name| {
                anyhow::anyhow!("the host name {name:?} is not UTF-8: set --node-name")
            })?,
        };
        Ok(Options {
            source: if self.manifests.is_empty() {
                SourceOptions::Kubernetes {
                    client: ClientOptions { kubeconfig: self.kubeconfig, context: self.context },
                    writes: KubeWriteOptions {
                        events: self.events,
                        remove_taint: self.remove_taint,
                    },
                }
            } else {
                SourceOptions::Manifests(self.manifests)
            },
            node_name,
            listeners: listeners(&self.metrics, self.status.as_deref(), &self.page)?,
            flow_log: self.flow_log.map(FlowLogTarget::from),
            pod_metrics: self.pod_metrics,
            check_source: !self.allow_any_source,
            unknown_pod: self.unknown_pod,
            audit: self.audit,
            deny_with: self.deny_with,
            uplinks: self.uplinks.into_iter().collect(),
            nri: nri::Options { mode: self.nri, socket: self.nri_socket },
            cni_results: Some(self.cni_results).filter(|folder| folder.as_os_str() != "off"),
            attach: self.attach,
            pins: Some(self.pins).filter(|folder| folder.as_os_str() != "off"),
            drift_interval: self.drift_interval,
            settings: Settings {
                limits: Limits { flows: self.flows, ..self.table_sizes.limits() },
                mark_mask: self.mark_mask,
                lifetimes: self.flow_timeouts,
                log: self.log_programs,
                ..Settings::default()
            },
        })
    }
}

fn deny_with() -> impl TypedValueParser<Value = DenyWith> {
    let names = DenyWith::ALL.map(DenyWith::name);
    PossibleValuesParser::new(names)
        .map(|name| DenyWith::ALL.into_iter().find(|it| it.name() == name).unwrap_or_default())
}

/// The status is served on loopback only, wherever the metrics are.
fn listeners(metrics: &str, status: Option<&str>, page: &str) -> anyhow::Result<Listeners> {
    let metrics = listener("--metrics", metrics)?;
    let status = match (status, metrics) {
        (Some(text), _) => private("--status", text)?,
        (None, None) => None,
        (None, Some(metrics)) if metrics.ip().is_loopback() => Some(metrics),
        (None, Some(metrics)) if metrics.ip().is_unspecified() => {
            tracing::warn!(
                "/status and /log are disabled: --metrics {metrics} occupies the port on loopback, too; \
                 set --status to another port, or to off to silence this warning"
            );
            None
        }
        (None, Some(metrics)) => Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), metrics.port())),
    };
    Ok(Listeners { metrics, status, page: private("--page", page)? })
}

/// An address on loopback.
fn private(option: &str, text: &str) -> anyhow::Result<Option<SocketAddr>> {
    let address = listener(option, text)?;
    if address.is_some_and(|it| !it.ip().is_loopback()) {
        anyhow::bail!(
            "{option} {text}: expected a loopback address like {DEFAULT_STATUS}: it shows the cluster's \
             pods, addresses and policies without authentication"
        );
    }
    Ok(address)
}

fn listener(option: &str, text: &str) -> anyhow::Result<Option<SocketAddr>> {
    if text == "off" {
        return Ok(None);
    }
    // In a DaemonSet the address comes from the downward API, which puts no brackets around IPv6.
    let bare = || {
        let (address, port) = text.rsplit_once(':')?;
        Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
    };
    text.parse().ok().or_else(bare).map(Some).ok_or_else(|| {
        anyhow::anyhow!("{option} {text}: expected ADDRESS:PORT like 127.0.0.1:9469, or off")
    })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

/// The mark bits of kube-proxy: masquerade and drop. Another use of them breaks Services.
const KUBE_PROXY: u32 = 0xc000;

fn mark_mask(text: &str) -> Result<u32, String> {
    let digits = text.trim_start_matches("0x");
    let mask = u32::from_str_radix(digits, 16).map_err(|error| error.to_string())?;
    let ones = mask >> mask.trailing_zeros().min(31);
    if ones != (1 << 15) - 1 {
        return Err("expected 15 adjacent bits in hexadecimal, like 0xfffe0000".to_owned());
    }
    if mask & KUBE_PROXY != 0 {
        return Err("these bits contain kube-proxy's, 0x4000 and 0x8000; use 0xfffe0000".to_owned());
    }
    Ok(mask)
}

#[cfg(test)]
mod tests;
