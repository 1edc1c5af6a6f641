//! The loop that drives the engine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::announcer::Announcer;
use super::problems::Problems;
use super::source::{Observable, Source, SourceOptions};
use super::starts::Starts;
use super::{Engine, Listeners, Reconciled, SharedEngine, UnknownPod, flows, heart};
use crate::kernel::{DropReader, Pins, PinsError, ProgramLog, Settings};
use crate::node::{self, Seen};
use crate::nri;
use crate::observe::{DropRecord, LogFilter, Names, Observed as _, PodMetrics};
use crate::source::Update;

/// How the agent runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the cluster's state comes from.
    pub source: SourceOptions,
    /// The name of this node: pods with another `spec.nodeName` are not here.
    pub node_name: String,
    /// Where the agent is observed.
    pub listeners: Listeners,
    /// By what packets are counted in the metrics.
    pub pod_metrics: PodMetrics,
    /// Whether packets from a pod must carry one of its addresses (semantics P4).
    pub check_source: bool,
    /// What interfaces get whose pod is not known yet (semantics C6).
    pub unknown_pod: UnknownPod,
    /// Names of the interfaces by which packets leave the node; empty: as netlink shows them.
    pub uplinks: BTreeSet<String>,
    /// How the container runtime is asked to let pods wait for their policy (semantics C6).
    pub nri: nri::Options,
    /// How programs are put on interfaces.
    pub attach: Attach,
    /// The folder in the BPF file system for what outlives the agent (semantics C3); `None`:
    /// nothing does.
    pub pins: Option<PathBuf>,
    /// How the programs are loaded.
    pub settings: Settings,
}

/// How programs are put on interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Attach {
    /// As links (TCX) where the kernel has them.
    #[default]
    Auto,
    /// As filters of a clsact qdisc.
    Clsact,
}

/// How often the ring buffers of drop events and log lines are looked at; they wake nobody.
const DROPS_INTERVAL: Duration = Duration::from_millis(100);

/// How often to look whether another agent has ended.
const BUSY_INTERVAL: Duration = Duration::from_millis(200);

/// How long to wait for a look at the node.
const LOOK_PATIENCE: Duration = Duration::from_millis(500);

/// Runs the agent until SIGTERM or SIGINT. SIGHUP changes nothing: there is nothing to read anew.
///
/// # Errors
/// The programs can't be loaded, a source or the node can't be read, or a table not written.
pub async fn run(options: Options, logger: LogFilter) -> anyhow::Result<()> {
    let pins = match &options.pins {
        Some(folder) => keep(folder).await?,
        None => None,
    };
    let (source, announcer) = Source::new(&options.source, &options.node_name).await?;
    let observable = Observable {
        watches: source.watches(),
        events: announcer.as_ref().and_then(Announcer::counts),
    };
    let mut engine = Engine::new(&options, pins).context("cannot start the datapath")?;
    let drops = engine.take_drops()?;
    let log = options.settings.log.then(|| engine.take_program_log()).transpose()?;
    let shared =
        SharedEngine::new(engine, observable, options.pod_metrics, logger, options.nri.mode);
    let stop = CancellationToken::new();
    options.listeners.start(&shared, &stop).await?;
    let (updates, changes) = mpsc::channel(64);
    let (snapshots, interfaces) = watch::channel(Seen::default());
    let (told, runtime) = mpsc::unbounded_channel();
    start_plugin(&options.nri, told, &shared);
    let mut source = tokio::spawn(source.watch(updates));
    let (looks, requests) = mpsc::channel(1);
    let mut node = tokio::spawn(node::watch(snapshots, requests));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Whoever is told of it is not ended by it.
    let _hangup = signal(SignalKind::hangup())?;
    let result = tokio::select! {
        result = drive(&shared, changes, Node { interfaces, looks }, runtime, announcer) => result,
        result = watch_drops(&shared, drops, log) => result,
        result = flows::keep(&shared) => result,
        ended = &mut source => Err(ended?.err().unwrap_or_else(
            || anyhow::anyhow!("the cluster's state is not watched any more"))),
        ended = &mut node => Err(ended?.err().map_or_else(
            || anyhow::anyhow!("the node is not watched any more"), Into::into)),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    stop.cancel();
    result
}

/// Has the container runtime tell `told`.
fn start_plugin(
    options: &nri::Options,
    told: mpsc::UnboundedSender<nri::Event>,
    shared: &Arc<SharedEngine>,
) {
    if options.mode != nri::Mode::Off {
        let (options, observer) = (options.clone(), Arc::clone(shared));
        tokio::spawn(async move { nri::run(&options, told, observer).await });
    }
}

/// Opens the folder of what outlives the agent, once no other agent has it. Without a BPF file
/// system, policy is enforced all the same, for as long as the agent runs.
async fn keep(folder: &Path) -> anyhow::Result<Option<Pins>> {
    let mut said = false;
    loop {
        match Pins::open(folder) {
            Ok(pins) => return Ok(Some(pins)),
            Err(error @ PinsError::Busy { .. }) => {
                if !said {
                    tracing::warn!("{error}; waiting until it has ended");
                }
                said = true;
                tokio::time::sleep(BUSY_INTERVAL).await;
            }
            Err(error @ PinsError::NotBpf { .. }) => {
                tracing::error!("enforcement ends with this process: {error}");
                return Ok(None);
            }
            Err(error) => return Err(error).context("cannot keep what outlives the agent"),
        }
    }
}

/// The node, and how to have it looked at.
struct Node {
    interfaces: watch::Receiver<Seen>,
    looks: mpsc::Sender<node::Request>,
}

impl Node {
    /// Has the node looked at: a pod that is about to start has its interface already, and the
    /// last one of its address has none any more, though neither may have been noticed yet.
    async fn look(&self) {
        let (request, looked) = oneshot::channel();
        if self.looks.send(request).await.is_ok() {
            // Later it is noticed in any case; the runtime waits meanwhile.
            let _ = tokio::time::timeout(LOOK_PATIENCE, looked).await;
        }
    }
}

/// Carries every change to the kernel, once everything was seen (semantics C4).
async fn drive(
    shared: &SharedEngine,
    mut changes: mpsc::Receiver<Update>,
    mut node: Node,
    mut runtime: mpsc::UnboundedReceiver<nri::Event>,
    mut announcer: Option<Announcer>,
) -> anyhow::Result<()> {
    let mut inputs = Inputs::default();
    let mut starts = Starts::default();
    let mut again: Option<Instant> = None;
    let mut pulse = tokio::time::interval(heart::PULSE);
    loop {
        let began;
        shared.beat();
        tokio::select! {
            update = changes.recv() => {
                let Some(update) = update else { return std::future::pending().await };
                let mut since = inputs.take(shared, update);
                while let Ok(update) = changes.try_recv() {
                    since = since.min(inputs.take(shared, update));
                }
                began = since;
            }
            changed = node.interfaces.changed() => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
                began = inputs.see(shared, &mut node);
            }
            Some(event) = runtime.recv() => {
                began = Instant::now();
                if let nri::Event::Started(..) = event {
                    node.look().await;
                    // What was never looked at is not known to be empty (semantics C4).
                    if node.interfaces.has_changed().unwrap_or(false) {
                        inputs.see(shared, &mut node);
                    }
                }
                starts.take(&mut shared.lock(), event);
                inputs.news = true;
            }
            () = tokio::time::sleep_until(again.unwrap_or_else(Instant::now).into()),
                if again.is_some() => {
                began = Instant::now();
                inputs.news = true;
            }
            _ = pulse.tick() => {
                // Who holds the engine for ever stops the loop here, though nothing changes.
                drop(shared.lock());
                continue;
            }
        }
        if inputs.are_to_be_carried_out() {
            again = reconcile(shared, began)?.map(|wait| Instant::now() + wait);
            starts.settle(&shared.lock());
            if let Some(announcer) = &mut announcer {
                announcer.enforced(&shared.lock(), &inputs.problems);
            }
        }
    }
}

/// What was heard so far.
#[derive(Default)]
struct Inputs {
    /// Whether the source has shown everything.
    source: bool,
    /// Whether the node was looked at.
    node: bool,
    /// Whether anything is different since the last time.
    news: bool,
    problems: Problems,
}

impl Inputs {
    /// Takes an update. Since when the source has known of it.
    fn take(&mut self, shared: &SharedEngine, update: Update) -> Instant {
        let since = update.received_at.unwrap_or_else(Instant::now);
        // What is complete for the first time is carried out though it may be nothing.
        self.news |= update.complete && !self.source;
        self.source |= update.complete;
        if !update.remarks.is_empty() {
            self.problems.take(update.remarks);
            shared.set_source_errors(self.problems.errors());
            // Nothing to enforce follows from it, but something to announce may.
            self.news = true;
        }
        self.news |= shared.lock().apply(update.changes);
        since
    }

    /// Takes what is seen of the node. Since when there was news of it.
    fn see(&mut self, shared: &SharedEngine, node: &mut Node) -> Instant {
        let Seen { snapshot, received_at } = node.interfaces.borrow_and_update().clone();
        shared.lock().see(snapshot);
        self.node = true;
        self.news = true;
        received_at.unwrap_or_else(Instant::now)
    }

    fn are_to_be_carried_out(&mut self) -> bool {
        self.source && self.node && std::mem::take(&mut self.news)
    }
}

/// Says when to do it again though nothing happens, if at all.
fn reconcile(shared: &SharedEngine, began: Instant) -> anyhow::Result<Option<Duration>> {
    let mut engine = shared.lock();
    let Reconciled { writes, waited, again } =
        engine.reconcile().context("cannot program the kernel's tables")?;
    for problem in &engine.unrepresented {
        tracing::error!(pod = %problem.pod, "fails closed: {}", problem.reason);
    }
    let pods = engine.assignment.pods.len();
    drop(engine);
    shared.set_ready();
    for (pod, unknown) in waited {
        shared.metrics().was_unknown(unknown);
        tracing::info!(%pod, ?unknown, "the pod behind an interface is known now");
    }
    if writes > 0 {
        let took = began.elapsed();
        shared.metrics().programmed(took);
        tracing::info!(writes, pods, ?took, "programmed");
    }
    Ok(again)
}

/// Logs what was dropped, and what the programs say.
async fn watch_drops(
    shared: &SharedEngine,
    mut drops: DropReader,
    mut log: Option<ProgramLog>,
) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(DROPS_INTERVAL);
    loop {
        ticks.tick().await;
        if let Some(log) = &mut log {
            log.flush();
        }
        let mut names = None;
        while let Some(event) = drops.take() {
            let (addresses, endpoints) = names.get_or_insert_with(|| shared.lock().names());
            let record = DropRecord::new(&event, Names { addresses, endpoints });
            tracing::info!(target: "enforcer::drops", "{record}");
            shared.dropped(record);
        }
    }
}
