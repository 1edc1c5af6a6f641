//! The command line.

pub mod ask;
pub mod check;
pub mod cleanup;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use enforcer_ebpf::contract::table::Limits;

use crate::agent::{AnnounceOptions, Attach, Listeners, Options, SourceOptions, UnknownPod};
use crate::kernel::{Lifetimes, Settings};
use crate::nri;
use crate::observe::{LogFormat, PodMetrics};
use crate::source::kubernetes::ClientOptions;

/// Kubernetes NetworkPolicy, enforced by eBPF beside any CNI.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What to log: error, warn, info, debug, trace, or filters like enforcer::drops=off.
    #[arg(
        long,
        global = true,
        env = "ENFORCER_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub log: String,
    /// How to log.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Where what outlives the agent is kept.
pub const DEFAULT_PINS: &str = "/sys/fs/bpf/enforcer";

/// Where the status of an agent with default options is.
const DEFAULT_STATUS: &str = "127.0.0.1:9469";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Enforce policies on this node until stopped.
    #[command(after_help = "Examples:
  enforcer run                                    # in a pod of a DaemonSet, with NODE_NAME set
  enforcer run --kubeconfig ~/.kube/config --context test --node-name node-1
  enforcer run --manifests ./policies
  enforcer run --manifests ./policies --metrics 127.0.0.1:9469 --log enforcer::drops=off,info")]
    Run(Box<RunArgs>),
    /// Read manifests and say what is wrong with them; exit code 1 if something is.
    #[command(after_help = "Examples:
  enforcer check ./policies
  enforcer check --output json ./policies")]
    Check(CheckArgs),
    /// Write the status of the agent that runs on this node, as JSON.
    #[command(after_help = "Example:
  kubectl -n enforcer-system exec enforcer-x7k2p -- /enforcer status")]
    Status(AgentArgs),
    /// Write what the agent that runs on this node logs, after changing it if FILTER is given. The
    /// change lasts until the next one or the agent's end.
    #[command(after_help = "Examples:
  enforcer log-level
  enforcer log-level debug
  enforcer log-level enforcer::drops=off,info")]
    LogLevel {
        /// What to log: error, warn, info, debug, trace, off, or filters like enforcer::drops=off.
        #[arg(value_name = "FILTER")]
        filter: Option<String>,
        /// Where the agent is.
        #[command(flatten)]
        agent: AgentArgs,
    },
    /// Remove every trace of enforcement from this node: nothing is enforced any more then. An
    /// agent that is running must be stopped before.
    #[command(after_help = "Example:
  enforcer cleanup --output json")]
    Cleanup(CleanupArgs),
    /// Write a completion script for a shell to standard output.
    #[command(after_help = "Example:
  enforcer completions bash > /etc/bash_completion.d/enforcer")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Read policies, pods, namespaces and services from the manifests in a directory, watched for
    /// changes, instead of from the Kubernetes API; may be given several times.
    #[arg(long, value_name = "DIR")]
    pub manifests: Vec<PathBuf>,
    /// A kubeconfig that says which API server to watch, and as whom [default: KUBECONFIG, else the
    /// cluster that this is a pod of, else ~/.kube/config].
    #[arg(long, value_name = "FILE", conflicts_with = "manifests")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig [default: its current one].
    #[arg(long, value_name = "NAME", conflicts_with = "manifests")]
    pub context: Option<String>,
    /// This node's name: pods whose spec.nodeName is another are not here [default: the host's]. The
    /// Kubernetes API must have a node of that name.
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Make Kubernetes Events on policies that have a mistake or don't fit into the tables, if they
    /// select a pod of this node; needs the right to create events.
    #[arg(long, conflicts_with = "manifests")]
    pub events: bool,
    /// Remove the taint of this key from this node as soon as policies are enforced, like
    /// enforcer/agent-not-ready; needs the right to patch nodes.
    #[arg(long, value_name = "KEY", conflicts_with = "manifests")]
    pub remove_taint: Option<String>,
    /// Serve /metrics, /healthz and /readyz there; "off": nowhere.
    #[arg(long, default_value = DEFAULT_STATUS, value_name = "ADDRESS:PORT")]
    pub metrics: String,
    /// Serve /status, which names pods, addresses and policies, and /log, which changes what is
    /// logged, there: a loopback address; "off": nowhere [default: with --metrics if that is on
    /// loopback, else the same port of 127.0.0.1].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub status: Option<String>,
    /// By what the metrics tell packets apart besides direction and reason. On a node of 250 pods in
    /// 30 namespaces this makes about 3,750 series by pod, 450 by namespace, 24 by node; at most
    /// 17,500, 2,100 and 70.
    #[arg(long, value_enum, default_value_t = PodMetrics::Namespace, value_name = "BY")]
    pub pod_metrics: PodMetrics,
    /// Let pods send from addresses that are not theirs (pods that route for others).
    #[arg(long)]
    pub allow_any_source: bool,
    /// What passes at a pod's interface until the pod is known: everything, or only the traffic of
    /// the link and of the node itself.
    #[arg(long, value_enum, default_value_t = UnknownPod::Allow)]
    pub unknown_pod: UnknownPod,
    /// Whether the container runtime is asked to let pods wait until their policy is programmed, by
    /// its plugin interface NRI: where it offers that, never, or so that the agent is not ready
    /// without.
    #[arg(long, value_enum, default_value_t = nri::Mode::Auto)]
    pub nri: nri::Mode,
    /// Where the container runtime listens for its plugins.
    #[arg(long, default_value = nri::DEFAULT_SOCKET, value_name = "PATH")]
    pub nri_socket: PathBuf,
    /// An interface by which packets leave the node; may be given several times [default: all that
    /// lead neither to a pod nor to the node itself].
    #[arg(long = "uplink", value_name = "INTERFACE")]
    pub uplinks: Vec<String>,
    /// Keep programs, flows and counters below this folder of a BPF file system, so that they
    /// outlive the agent; "off": enforcement ends with it.
    #[arg(long, default_value = DEFAULT_PINS, value_name = "DIR")]
    pub pins: PathBuf,
    /// How programs are put on interfaces: by TCX where the kernel has it (6.6 and newer), or as
    /// filters of a clsact qdisc in any case.
    #[arg(long, value_enum, default_value_t = Attach::Auto)]
    pub attach: Attach,
    /// The 15 adjacent bits of the packet mark that carry who sent a packet.
    #[arg(long, default_value = "0xfffe0000", value_parser = mark_mask, value_name = "MASK")]
    pub mark_mask: u32,
    /// For how many seconds a silent flow is remembered, so that its replies pass, by its stage;
    /// what is not named keeps its default.
    #[arg(long, default_value_t = Lifetimes::DEFAULT, value_name = "STAGE=SECONDS,…")]
    pub flow_timeouts: Lifetimes,
    /// Have the programs log each frame that they cannot read; for debugging, shown by --log debug.
    #[arg(long)]
    pub log_programs: bool,
    /// How many established flows of each address family are remembered.
    #[arg(long, default_value_t = Limits::DEFAULT.flows, value_parser = clap::value_parser!(u32).range(64..), value_name = "N")]
    pub flows: u32,
    /// How many others: opening, unanswered, closed. Where there are more, the oldest are forgotten.
    #[arg(long, default_value_t = Limits::DEFAULT.opening_flows, value_parser = clap::value_parser!(u32).range(64..), value_name = "N")]
    pub opening_flows: u32,
}

/// Which agent to ask.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// Where the agent serves its status: its --status, or its --metrics if that is on loopback.
    #[arg(long, default_value = DEFAULT_STATUS, value_name = "ADDRESS:PORT")]
    pub status: SocketAddr,
}

/// Arguments of `cleanup`.
#[derive(Debug, Args)]
pub struct CleanupArgs {
    /// Where agents have kept what outlives them.
    #[arg(long, default_value = DEFAULT_PINS, value_name = "DIR")]
    pub pins: PathBuf,
    /// How to write what was removed.
    #[arg(long, value_enum, default_value = "text")]
    pub output: cleanup::Format,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Directories of Kubernetes manifests.
    #[arg(required = true, value_name = "DIR")]
    pub manifests: Vec<PathBuf>,
    /// How to write the findings.
    #[arg(long, value_enum, default_value = "text")]
    pub output: check::Format,
}

impl RunArgs {
    /// The agent's options.
    ///
    /// # Errors
    /// The metrics address is none, or the host has no usable name.
    pub fn options(self) -> anyhow::Result<Options> {
        let node_name = match self.node_name {
            Some(name) => name,
            None => nix::unistd::gethostname()?.into_string().map_err(|name| {
                anyhow::anyhow!("the host name {name:?} is no text: give --node-name")
            })?,
        };
        Ok(Options {
            source: if self.manifests.is_empty() {
                SourceOptions::Kubernetes {
                    client: ClientOptions { kubeconfig: self.kubeconfig, context: self.context },
                    announce: AnnounceOptions {
                        events: self.events,
                        remove_taint: self.remove_taint,
                    },
                }
            } else {
                SourceOptions::Manifests(self.manifests)
            },
            node_name,
            listeners: listeners(&self.metrics, self.status.as_deref())?,
            pod_metrics: self.pod_metrics,
            check_source: !self.allow_any_source,
            unknown_pod: self.unknown_pod,
            uplinks: self.uplinks.into_iter().collect(),
            nri: nri::Options { mode: self.nri, socket: self.nri_socket },
            attach: self.attach,
            pins: Some(self.pins).filter(|folder| folder.as_os_str() != "off"),
            settings: Settings {
                limits: Limits {
                    flows: self.flows,
                    opening_flows: self.opening_flows,
                    ..Limits::DEFAULT
                },
                mark_mask: self.mark_mask,
                lifetimes: self.flow_timeouts,
                log: self.log_programs,
                ..Settings::default()
            },
        })
    }
}

/// What is for the node alone is served on loopback, wherever the metrics are.
fn listeners(metrics: &str, status: Option<&str>) -> anyhow::Result<Listeners> {
    let metrics = listener("--metrics", metrics)?;
    let status = match (status, metrics) {
        (Some(text), _) => {
            let status = listener("--status", text)?;
            if status.is_some_and(|it| !it.ip().is_loopback()) {
                anyhow::bail!(
                    "--status {text}: expected a loopback address like {DEFAULT_STATUS}: it shows the \
                     cluster's pods, addresses and policies to whoever asks"
                );
            }
            status
        }
        (None, None) => None,
        (None, Some(metrics)) if metrics.ip().is_loopback() => Some(metrics),
        (None, Some(metrics)) if metrics.ip().is_unspecified() => {
            tracing::warn!(
                "/status and /log are not served: --metrics {metrics} takes its port on loopback, too. \
                 --status chooses another, --status off is silent about it"
            );
            None
        }
        (None, Some(metrics)) => Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), metrics.port())),
    };
    Ok(Listeners { metrics, status })
}

fn listener(option: &str, text: &str) -> anyhow::Result<Option<SocketAddr>> {
    if text == "off" {
        return Ok(None);
    }
    // In a DaemonSet the address comes out of the downward API, which puts no brackets around IPv6.
    let bare = || {
        let (address, port) = text.rsplit_once(':')?;
        Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
    };
    text.parse().ok().or_else(bare).map(Some).ok_or_else(|| {
        anyhow::anyhow!("{option} {text}: expected ADDRESS:PORT like 127.0.0.1:9469, or off")
    })
}

fn mark_mask(text: &str) -> Result<u32, String> {
    let digits = text.trim_start_matches("0x");
    let mask = u32::from_str_radix(digits, 16).map_err(|error| error.to_string())?;
    let ones = mask >> mask.trailing_zeros().min(31);
    if ones == (1 << 15) - 1 {
        Ok(mask)
    } else {
        Err("expected 15 adjacent bits in hexadecimal, like 0xfffe0000".to_owned())
    }
}

/// Writes a completion script.
pub fn completions(shell: clap_complete::Shell, out: &mut impl std::io::Write) {
    clap_complete::generate(shell, &mut Cli::command(), "enforcer", out);
}

/// An error with its causes, in a line. Libraries' errors often quote their cause: that is not said
/// again.
pub fn told(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.contains(&cause) {
            continue;
        }
        if !told.is_empty() {
            told.push_str(": ");
        }
        told.push_str(&cause);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn marks_are_fifteen_adjacent_bits() {
        assert_eq!(mark_mask("0xfffe0000"), Ok(0xfffe_0000));
        assert_eq!(mark_mask("7fff"), Ok(0x7fff));
        for wrong in ["0", "ffff0000", "0xfffd0000", "zebra"] {
            assert!(mark_mask(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn metrics_can_be_off() {
        let listener = |text| listener("--metrics", text);
        assert_eq!(listener("off").unwrap(), None);
        let v6 = Some("[fd00::1]:80".parse().unwrap());
        assert_eq!(listener("[fd00::1]:80").unwrap(), v6);
        assert_eq!(listener("fd00::1:80").unwrap(), v6);
        assert!(listener("fd00::1").is_err());
        assert!(listener("here").is_err());
    }

    #[test]
    fn the_status_stays_on_loopback() {
        let found = |metrics, status| {
            let listeners = listeners(metrics, status).unwrap();
            let text = |it: Option<SocketAddr>| it.map_or("off".to_owned(), |it| it.to_string());
            (text(listeners.metrics), text(listeners.status))
        };
        let of = |metrics: &str, status: &str| (metrics.to_owned(), status.to_owned());
        assert_eq!(found("127.0.0.1:1", None), of("127.0.0.1:1", "127.0.0.1:1"));
        assert_eq!(found("[::1]:1", None), of("[::1]:1", "[::1]:1"));
        assert_eq!(found("10.224.0.4:1", None), of("10.224.0.4:1", "127.0.0.1:1"));
        assert_eq!(found("fd00::1:80", None), of("[fd00::1]:80", "127.0.0.1:80"));
        assert_eq!(found("0.0.0.0:1", None), of("0.0.0.0:1", "off"));
        assert_eq!(found("0.0.0.0:1", Some("127.0.0.1:2")), of("0.0.0.0:1", "127.0.0.1:2"));
        assert_eq!(found("10.224.0.4:1", Some("[::1]:2")), of("10.224.0.4:1", "[::1]:2"));
        assert_eq!(found("127.0.0.1:1", Some("off")), of("127.0.0.1:1", "off"));
        assert_eq!(found("off", None), of("off", "off"));
        assert_eq!(found("off", Some("127.0.0.1:2")), of("off", "127.0.0.1:2"));
        for open in ["10.224.0.4:1", "0.0.0.0:1", "[::]:1", "[fd00::1]:1"] {
            let error = listeners("off", Some(open)).unwrap_err().to_string();
            assert!(error.contains("expected a loopback address"), "{error}");
        }
    }

    #[test]
    fn causes_are_told_once() {
        let io = std::io::Error::from_raw_os_error(1);
        let inner = anyhow::anyhow!(io).context("map EVENTS: Operation not permitted (os error 1)");
        let error = inner.context("cannot load");
        let expected = "cannot load: map EVENTS: Operation not permitted (os error 1)";
        assert_eq!(told(&error), expected);
    }
}
