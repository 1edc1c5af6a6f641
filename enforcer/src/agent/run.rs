//! Starts the agent's tasks, and ends them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::flow_log::FlowLog;
use super::main_loop::{Channels, Node};
use super::options::Options;
use super::reconciler::Reconciler;
use super::shared::Shared;
use super::source::Source;
use super::thread::Questions;
use super::trace::Live;
use super::{descriptors, drop_log, drops, listen, source_thread, thread};
use crate::cni::{self, Results, State};
use crate::kernel::{Pins, PinsError};
use crate::node::{self, Seen};
use crate::nri;
use crate::observe::LogFilter;

/// The time between two attempts while another agent runs.
const BUSY_INTERVAL: Duration = Duration::from_millis(200);

/// The longest wait for the reconciler's thread at the end. Its work is not needed any more: the next
/// agent starts from what the kernel has.
const LAST_PLAN: Duration = Duration::from_secs(5);

/// Runs the agent until SIGTERM or SIGINT. SIGHUP is ignored: changes are picked up automatically.
///
/// # Errors
/// The programs can't be loaded, a source or the node can't be read, or a table can't be written.
pub async fn run(options: Options, logger: LogFilter) -> anyhow::Result<()> {
    descriptors::raise_limit();
    let pins = match &options.pins {
        Some(folder) => open_pins(folder).await?,
        None => None,
    };
    let (updates, changes) = mpsc::channel(64);
    let source = Source::open(&options.source, &options.node_name, updates).await?;
    let Source { watch: source, observable, writer } = source;
    let watches = observable.watches.clone();
    let mut reconciler = Reconciler::new(&options, pins).context("cannot start the datapath")?;
    let drops = reconciler.take_drops()?;
    let log = options.settings.log.then(|| reconciler.take_program_log()).transpose()?;
    let (live, wanted) = Live::new(&reconciler);
    let shared =
        Shared::new(&reconciler, observable, options.pod_metrics, logger, options.nri.mode, live);
    let stop = CancellationToken::new();
    listen::start(options.listeners, &shared, &stop).await?;
    let (snapshots, interfaces) = watch::channel(Seen::default());
    let (events, runtime) = mpsc::unbounded_channel();
    start_plugin(&options.nri, events, &shared);
    let mut source = source_thread::start(source, watches)?;
    let results = start_results(options.cni_results.clone());
    let (requests, requested) = mpsc::channel(1);
    let mut node = tokio::spawn(node::watch(snapshots, requested));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Installing a handler keeps SIGHUP from terminating the agent.
    let _hangup = signal(SignalKind::hangup())?;
    let node_watch = Node { interfaces, requests };
    let channels = Channels { changes, node: node_watch, runtime, results, writer };
    let (questions, asked) = mpsc::channel(drop_log::WAITING);
    let flow_log = options.flow_log.clone().map(FlowLog::new);
    let (ours, stopped) = (Arc::clone(&shared), stop.clone());
    let asked = Questions { drops: asked, live: wanted };
    let mut ended = thread::start(reconciler, ours, channels, asked, flow_log, stopped)?;
    let mut has_ended = false;
    let result = tokio::select! {
        result = &mut ended => {
            has_ended = true;
            result.unwrap_or_else(|_| Err(anyhow::anyhow!("the reconciler's thread panicked")))
        }
        result = drops::watch(&shared, drops, log, questions) => result,
        ended = &mut source => Err(ended.ok().and_then(Result::err).unwrap_or_else(
            || anyhow::anyhow!("the source of the cluster's state stopped"))),
        ended = &mut node => Err(ended?.err().map_or_else(
            || anyhow::anyhow!("the watch of the node stopped"), Into::into)),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    stop.cancel();
    if !has_ended && tokio::time::timeout(LAST_PLAN, ended).await.is_err() {
        tracing::warn!("the agent ends in the middle of a plan");
    }
    result
}

/// Starts the plugin that sends the container runtime's events.
fn start_plugin(
    options: &nri::Options,
    events: mpsc::UnboundedSender<nri::Event>,
    shared: &Arc<Shared>,
) {
    if options.mode != nri::Mode::Off {
        let (options, observer) = (options.clone(), Arc::clone(shared));
        tokio::spawn(async move { nri::run(&options, events, observer).await });
    }
}

/// Watches the container runtime's CNI results.
fn start_results(directory: Option<PathBuf>) -> watch::Receiver<Results> {
    let (sender, receiver) = watch::channel(Results::default());
    match directory {
        Some(directory) => drop(tokio::spawn(cni::watch(directory, sender))),
        None => drop(sender.send(Results { state: State::Off, ..Results::default() })),
    }
    receiver
}

/// Opens the directory of pins; waits while another agent has it. `None`: there is no BPF file
/// system, so policy is enforced only while the agent runs.
async fn open_pins(folder: &Path) -> anyhow::Result<Option<Pins>> {
    let mut reported = false;
    loop {
        match Pins::open(folder) {
            Ok(pins) => return Ok(Some(pins)),
            Err(error @ PinsError::Busy { .. }) => {
                if !reported {
                    tracing::warn!("{error}; waiting until it ends");
                }
                reported = true;
                tokio::time::sleep(BUSY_INTERVAL).await;
            }
            Err(error @ PinsError::NotBpf { .. }) => {
                tracing::error!("enforcement ends with this process: {error}");
                return Ok(None);
            }
            Err(error) => return Err(error).context("cannot open the directory of pins"),
        }
    }
}
