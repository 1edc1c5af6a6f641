//! The main loop, which drives the reconciler.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::drop_log::DropLog;
use super::kube_writer::KubeWriter;
use super::options::Options;
use super::pod_starts::PodStarts;
use super::problems::Problems;
use super::reconciler::{Reconciled, Reconciler};
use super::snapshot::SharedReconciler;
use super::source::Source;
use super::{descriptors, flows, hooks, listen, watchdog};
use crate::cni::{self, Results, State};
use crate::kernel::{DropReader, Pins, PinsError, ProgramLog};
use crate::node::{self, Seen};
use crate::nri;
use crate::observe::{Attribution, DropRecord, LogFilter, Names, Observed as _};
use crate::source::Update;

/// The time between two reads of the ring buffers for drop events and log lines. They wake no reader.
const DROPS_INTERVAL: Duration = Duration::from_millis(100);

/// The time between two attempts while another agent runs.
const BUSY_INTERVAL: Duration = Duration::from_millis(200);

/// The longest wait for a fresh snapshot of the node.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_millis(500);

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
    let mut reconciler = Reconciler::new(&options, pins).context("cannot start the datapath")?;
    let drops = reconciler.take_drops()?;
    let log = options.settings.log.then(|| reconciler.take_program_log()).transpose()?;
    let shared = SharedReconciler::new(
        reconciler,
        observable,
        options.pod_metrics,
        logger,
        options.nri.mode,
    );
    let stop = CancellationToken::new();
    listen::start(options.listeners, &shared, &stop).await?;
    let (snapshots, interfaces) = watch::channel(Seen::default());
    let (events, runtime) = mpsc::unbounded_channel();
    start_plugin(&options.nri, events, &shared);
    let mut source = tokio::spawn(source);
    let results = start_results(options.cni_results.clone());
    let (requests, requested) = mpsc::channel(1);
    let mut node = tokio::spawn(node::watch(snapshots, requested));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Installing a handler keeps SIGHUP from terminating the agent.
    let _hangup = signal(SignalKind::hangup())?;
    let result = tokio::select! {
        result = drive(&shared, changes, Node { interfaces, requests }, (runtime, results), writer) => result,
        result = watch_drops(&shared, drops, log) => result,
        result = flows::keep(&shared) => result,
        result = hooks::keep(&shared) => result,
        ended = &mut source => Err(ended?.err().unwrap_or_else(
            || anyhow::anyhow!("the source of the cluster's state stopped"))),
        ended = &mut node => Err(ended?.err().map_or_else(
            || anyhow::anyhow!("the watch of the node stopped"), Into::into)),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    stop.cancel();
    result
}

/// Starts the plugin that sends the container runtime's events.
fn start_plugin(
    options: &nri::Options,
    events: mpsc::UnboundedSender<nri::Event>,
    shared: &Arc<SharedReconciler>,
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

/// The watch of the node.
struct Node {
    interfaces: watch::Receiver<Seen>,
    requests: mpsc::Sender<node::Request>,
}

impl Node {
    /// Requests a fresh snapshot: a pod that is about to start already has its interface, and the
    /// previous pod with its address has none any more, but netlink may not have reported it yet.
    async fn refresh(&self) {
        let (request, done) = oneshot::channel();
        if self.requests.send(request).await.is_ok() {
            // Netlink reports it later in any case; meanwhile the runtime waits.
            let _ = tokio::time::timeout(SNAPSHOT_TIMEOUT, done).await;
        }
    }
}

/// Enforces every change, once all sources are complete (semantics C4).
async fn drive(
    shared: &SharedReconciler,
    mut changes: mpsc::Receiver<Update>,
    mut node: Node,
    (mut runtime, mut results): (mpsc::UnboundedReceiver<nri::Event>, watch::Receiver<Results>),
    mut writer: Option<KubeWriter>,
) -> anyhow::Result<()> {
    let mut inputs = Inputs::default();
    // The records of pods that run already come before the first reconciliation.
    let first = results.wait_for(|it| it.state != State::Pending).await.map(|it| it.clone());
    shared.lock().take_results(first?);
    let mut again: Option<Instant> = None;
    let mut ticks = tokio::time::interval(watchdog::INTERVAL);
    loop {
        let mut started_at;
        shared.reset_watchdog();
        tokio::select! {
            update = changes.recv() => {
                let Some(update) = update else { return std::future::pending().await };
                started_at = inputs.take(shared, update);
                while let Ok(update) = changes.try_recv() {
                    started_at = started_at.min(inputs.take(shared, update));
                }
            }
            changed = node.interfaces.changed() => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
                started_at = inputs.see(shared, &mut node);
            }
            Some(event) = runtime.recv() => {
                started_at = Instant::now();
                inputs.take_event(shared, &mut node, event).await;
            }
            Ok(()) = results.changed() => {
                started_at = inputs.take_results(shared, &mut node, &mut results).await;
            }
            () = tokio::time::sleep_until(again.unwrap_or_else(Instant::now).into()),
                if again.is_some() => {
                started_at = Instant::now();
                inputs.pending = true;
            }
            _ = ticks.tick() => {
                // A task that never releases the lock stops the loop here, although nothing changes.
                shared.lock().older.ran(Instant::now());
                continue;
            }
        }
        if inputs.take_pending() {
            again = reconcile(shared, started_at)?.map(|wait| Instant::now() + wait);
            inputs.starts.settle(&shared.lock());
            if let Some(writer) = &mut writer {
                writer.enforced(&shared.lock(), &inputs.problems);
            }
        }
    }
}

/// The inputs that have arrived so far.
#[derive(Default)]
struct Inputs {
    /// Whether the source is complete.
    source: bool,
    /// Whether the node has been seen.
    node: bool,
    /// Whether anything has changed since the last reconciliation.
    pending: bool,
    problems: Problems,
    starts: PodStarts,
}

impl Inputs {
    /// Takes an update. Returns when the source received it.
    fn take(&mut self, shared: &SharedReconciler, update: Update) -> Instant {
        let received_at = update.received_at.unwrap_or_else(Instant::now);
        // The first complete state is enforced even if it is empty.
        self.pending |= update.complete && !self.source;
        self.source |= update.complete;
        if !update.remarks.is_empty() {
            self.problems.take(update.remarks);
            shared.set_source_errors(self.problems.errors());
            // Remarks change nothing in the kernel, but may need an Event.
            self.pending = true;
        }
        self.pending |= shared.lock().apply(update.changes);
        received_at
    }

    /// Takes a snapshot of the node. Returns when its change was noticed.
    fn see(&mut self, shared: &SharedReconciler, node: &mut Node) -> Instant {
        let Seen { snapshot, received_at } = node.interfaces.borrow_and_update().clone();
        shared.lock().see(snapshot);
        self.node = true;
        self.pending = true;
        received_at.unwrap_or_else(Instant::now)
    }

    /// Takes an event of the container runtime.
    async fn take_event(&mut self, shared: &SharedReconciler, node: &mut Node, event: nri::Event) {
        if let nri::Event::Started(..) = event {
            self.refresh(shared, node).await;
        }
        self.starts.take(&mut shared.lock(), event);
        self.pending = true;
    }

    /// Takes the container runtime's CNI results. Returns when their change was noticed.
    async fn take_results(
        &mut self,
        shared: &SharedReconciler,
        node: &mut Node,
        results: &mut watch::Receiver<Results>,
    ) -> Instant {
        self.refresh(shared, node).await;
        let results = results.borrow_and_update().clone();
        let received_at = results.received_at.unwrap_or_else(Instant::now);
        shared.lock().take_results(results);
        self.pending = true;
        received_at
    }

    /// Requests a fresh snapshot of the node and takes it.
    async fn refresh(&mut self, shared: &SharedReconciler, node: &mut Node) {
        node.refresh().await;
        // Before the first snapshot the node is unknown, not empty (semantics C4).
        if node.interfaces.has_changed().unwrap_or(false) {
            self.see(shared, node);
        }
    }

    /// Whether there is something to enforce; resets it.
    fn take_pending(&mut self) -> bool {
        self.source && self.node && std::mem::take(&mut self.pending)
    }
}

/// Enforces the present state. Returns the time until the next reconciliation, if one is needed
/// although nothing changes.
fn reconcile(shared: &SharedReconciler, started_at: Instant) -> anyhow::Result<Option<Duration>> {
    let mut reconciler = shared.lock();
    let Reconciled { writes, waited, again } =
        reconciler.reconcile().context("cannot program the kernel's tables")?;
    for problem in &reconciler.unrepresented {
        tracing::error!(pod = %problem.pod, "fails closed: {}", problem.reason);
    }
    let pods = reconciler.assignment.pods.len();
    let unguarded = reconciler.unguarded();
    drop(reconciler);
    shared.set_unguarded(unguarded);
    shared.set_ready();
    for (pod, unknown) in waited {
        shared.metrics().was_unknown(unknown);
        tracing::info!(%pod, ?unknown, "the pod behind an interface is known now");
    }
    if writes > 0 {
        let took = started_at.elapsed();
        shared.metrics().programmed(took);
        tracing::info!(writes, pods, ?took, "programmed");
    }
    Ok(again)
}

/// Logs dropped packets, and the messages of the programs.
async fn watch_drops(
    shared: &SharedReconciler,
    mut drops: DropReader,
    mut log: Option<ProgramLog>,
) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(DROPS_INTERVAL);
    let mut drop_log = DropLog::new(shared);
    loop {
        ticks.tick().await;
        drop_log.tick();
        if let Some(log) = &mut log {
            log.flush();
        }
        let mut names = None;
        while let Some(event) = drops.take() {
            let (addresses, endpoints) = names.get_or_insert_with(|| shared.lock().names());
            let record = DropRecord::new(&event, Names { addresses, endpoints });
            if let Some(record) = drop_log.take(record) {
                let attribution = Attribution::of(&record, &shared.lock().cluster);
                drop_log.attribute(record, attribution);
            }
        }
    }
}
