//! Processes inside the lab, above all the agent under test. They end with the lab.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use caps::Capability;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};
use tokio::process::Child;
use tokio::runtime::Handle;

use super::confine::confine;
use super::error::Context as _;
use super::sandbox::use_bpf;
use super::{Lab, LabError, Namespace};

/// The hidden subcommand of `enforcer-lab` that becomes another command, see [`become_command`].
pub const SPAWN_COMMAND: &str = "__spawn";

/// The agent's command line and environment.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// The agent's binary.
    pub binary: PathBuf,
    /// The `enforcer-lab` binary, which starts it.
    pub spawner: PathBuf,
    /// The source of the cluster's state.
    pub source: AgentSource,
    /// The file for its standard output and error; `None`: the lab's standard error.
    pub log: Option<PathBuf>,
    /// The port for metrics and health on the node's loopback.
    pub metrics_port: u16,
    /// Further arguments.
    pub arguments: Vec<OsString>,
}

/// The source of the cluster's state.
#[derive(Debug, Clone)]
pub enum AgentSource {
    /// The directory of the user's manifests; the lab's status documents are added.
    Manifests(PathBuf),
    /// The API server of a kubeconfig file.
    Kubeconfig(PathBuf),
}

/// A running agent. Dropping it kills it; [`Agent::stop`] sends SIGTERM first.
#[derive(Debug)]
pub struct Agent {
    child: Child,
}

impl Agent {
    /// Starts the agent in the namespace of the node with this index.
    pub async fn start(lab: &Lab, node: usize, options: &AgentOptions) -> Result<Self, LabError> {
        let node = lab.node_at(node)?;
        let confined = Some(further_capabilities(&options.arguments));
        let binary = options.binary.as_os_str();
        let mut command = guarded(&options.spawner, binary, node.bpffs(), confined);
        command.arg("run");
        match &options.source {
            AgentSource::Manifests(directory) => {
                command.arg("--manifests").arg(directory);
                command.arg("--manifests").arg(lab.state_directory());
            }
            AgentSource::Kubeconfig(file) => {
                command.arg("--kubeconfig").arg(file);
            }
        }
        command.args(["--node-name", &node.site().name(), "--metrics"]);
        command.arg(format!("127.0.0.1:{}", options.metrics_port));
        // Tests and people in a lab look at the counters of each pod.
        if !options.arguments.iter().any(|it| it == "--pod-metrics") {
            command.args(["--pod-metrics", "pod"]);
        }
        // Not the host's container runtime.
        command.arg("--nri-socket").arg(node.runtime_socket());
        if !options.arguments.iter().any(|it| it == "--cni-results") {
            command.arg("--cni-results").arg(node.cni_results());
        }
        command.args(&options.arguments).stdin(Stdio::null());
        if let Some(path) = &options.log {
            let log = open_log(path)?;
            let copy = log.try_clone().context("the agent's log")?;
            command.stdout(log).stderr(copy);
        } else {
            // The lab's standard output may be a JSON document.
            command.stdout(std::io::stderr());
        }
        Ok(Self { child: spawn(node.namespace(), command).await? })
    }

    /// The agent's process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The agent's exit status, if it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, LabError> {
        self.child.try_wait().context("check the agent")
    }

    /// Sends the agent a signal; an error if it has ended.
    pub fn signal(&self, signal: Signal) -> Result<(), LabError> {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| LabError::Agent("the agent has ended".to_owned()))?;
        kill(Pid::from_raw(pid), signal).context("signal the agent")
    }

    /// Kills the agent by SIGKILL, and waits for its end.
    pub async fn kill(mut self) -> Result<(), LabError> {
        self.child.kill().await.context("kill the agent")
    }

    /// Ends the agent by SIGTERM and waits for it.
    ///
    /// # Errors
    /// After `patience` the agent is killed, which is an error.
    pub async fn stop(mut self, patience: Duration) -> Result<Option<ExitStatus>, LabError> {
        if let Some(status) = self.ended()? {
            return Ok(Some(status));
        }
        self.signal(Signal::SIGTERM)?;
        let started = Instant::now();
        match tokio::time::timeout(patience, self.child.wait()).await {
            Ok(status) => status.map(Some).context("wait for the agent"),
            Err(_) => {
                let _ = self.child.kill().await;
                let waited = started.elapsed();
                Err(LabError::Agent(format!("the agent ignored SIGTERM for {waited:.1?}")))
            }
        }
    }
}

/// The capabilities that the manifests give to an agent with these arguments, besides the usual ones
/// (deploy/kustomize/components/reject).
fn further_capabilities(arguments: &[OsString]) -> &'static [Capability] {
    if arguments.iter().any(|it| it == "--deny-with") { &[Capability::CAP_NET_RAW] } else { &[] }
}

/// A command that ends with the lab. `bpffs`: mounted as its BPF file system. `confined`: with the
/// privileges of the agent's container, and these capabilities.
fn guarded(
    spawner: &Path,
    program: &std::ffi::OsStr,
    bpffs: Option<&Path>,
    confined: Option<&[Capability]>,
) -> Command {
    let mut command = Command::new(spawner);
    command.arg(SPAWN_COMMAND).arg(std::process::id().to_string());
    if let Some(path) = bpffs {
        command.arg("--bpffs").arg(path);
    }
    if let Some(capabilities) = confined {
        command.arg("--confined");
        for it in capabilities {
            command.args(["--capability", &it.to_string()]);
        }
    }
    command.arg("--").arg(program);
    command
}

/// Runs a command in a namespace and waits for its output. It ends with the lab.
pub async fn command_in(
    namespace: &Namespace,
    spawner: &Path,
    program: &str,
    arguments: &[&str],
) -> Result<std::process::Output, LabError> {
    let mut command = guarded(spawner, program.as_ref(), None, None);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = spawn(namespace, command).await?;
    child.wait_with_output().await.context(format!("run {program}"))
}

/// Starts a process on the namespace's own thread, so that it is inside. Its parent-death signal
/// refers to that *thread*, which lives as long as the namespace.
async fn spawn(namespace: &Namespace, command: Command) -> Result<Child, LabError> {
    let runtime = Handle::current();
    let program = command.get_program().display().to_string();
    namespace
        .io(&format!("start {program}"), move || {
            let _guard = runtime.enter();
            tokio::process::Command::from(command).kill_on_drop(true).spawn()
        })
        .await
}

fn open_log(path: &Path) -> Result<File, LabError> {
    File::options().create(true).append(true).open(path).context(format!("open {}", path.display()))
}

/// Replaces the calling process, started by the lab `lab`, by another command that is killed when
/// the lab ends. `bpffs` and `confined` as for the hidden subcommand. Returns only on failure.
pub fn become_command(
    lab: u32,
    bpffs: Option<&Path>,
    confined: Option<&[Capability]>,
    command: &[OsString],
) -> Result<std::convert::Infallible, LabError> {
    set_pdeathsig(Signal::SIGKILL).context("bind to the lab's life")?;
    // The lab may have ended before the line above.
    if u32::try_from(getppid().as_raw()) != Ok(lab) {
        return Err(LabError::Agent("the lab has ended".to_owned()));
    }
    if let Some(path) = bpffs {
        use_bpf(path)?;
    }
    if let Some(further) = confined {
        confine(further)?;
    }
    let Some((program, arguments)) = command.split_first() else {
        return Err(LabError::Agent("no command given".to_owned()));
    };
    let error = Command::new(program).args(arguments).exec();
    Err(error).context(format!("run {}", program.display()))
}
