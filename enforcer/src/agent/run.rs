//! The loop that drives the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Engine, Reconciled, SharedEngine, UnknownPod, flows};
use crate::kernel::{DropReader, ProgramLog, Settings};
use crate::node::{self, Snapshot};
use crate::observe::{DropRecord, Names, Observed as _, serve};
use crate::source::kubernetes::{ClientOptions, Connection, Kubernetes, Watches};
use crate::source::manifests::{Manifests, Severity};
use crate::source::{Remarks, Update};

/// How the agent runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the cluster's state comes from.
    pub source: SourceOptions,
    /// The name of this node: pods with another `spec.nodeName` are not here.
    pub node_name: String,
    /// Where to serve metrics, health and status; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Whether packets from a pod must carry one of its addresses (semantics P4).
    pub check_source: bool,
    /// What interfaces get whose pod is not known yet (semantics C6).
    pub unknown_pod: UnknownPod,
    /// Names of the interfaces by which packets leave the node; empty: as netlink shows them.
    pub uplinks: BTreeSet<String>,
    /// How the programs are loaded.
    pub settings: Settings,
}

/// Where the cluster's state comes from.
#[derive(Debug, Clone)]
pub enum SourceOptions {
    /// Directories of manifests.
    Manifests(Vec<PathBuf>),
    /// An API server.
    Kubernetes(ClientOptions),
}

/// How often the ring buffers of drop events and log lines are looked at; they wake nobody.
const DROPS_INTERVAL: Duration = Duration::from_millis(100);

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// The programs can't be loaded, a source or the node can't be read, or a table not written.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let source = Source::new(&options).await?;
    let mut engine = Engine::new(&options).context("cannot start the datapath")?;
    let drops = engine.take_drops()?;
    let log = options.settings.log.then(|| engine.take_program_log()).transpose()?;
    let shared = SharedEngine::new(engine, source.watches());
    let stop = CancellationToken::new();
    if let Some(address) = options.metrics {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot serve metrics on {address}: choose another --metrics")
        })?;
        tracing::info!("metrics on http://{}/metrics", listener.local_addr()?);
        let serving = serve(listener, Arc::clone(&shared), stop.clone().cancelled_owned());
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!("the metrics server stopped: {error}");
            }
        });
    }
    let (updates, changes) = mpsc::channel(64);
    let (snapshots, interfaces) = watch::channel(Snapshot::default());
    let mut source = tokio::spawn(source.watch(updates));
    let mut node = tokio::spawn(node::watch(snapshots));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let result = tokio::select! {
        result = drive(&shared, changes, interfaces) => result,
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

/// The source that the options choose.
enum Source {
    Manifests(Box<Manifests>),
    Kubernetes(Box<Kubernetes>),
}

impl Source {
    async fn new(options: &Options) -> anyhow::Result<Self> {
        Ok(match &options.source {
            SourceOptions::Manifests(folders) => {
                Self::Manifests(Box::new(Manifests::new(folders.clone())?))
            }
            SourceOptions::Kubernetes(client) => {
                let connection = Connection::find(client).await?;
                tracing::info!(server = %connection.server(), "watching the Kubernetes API");
                let kubernetes = Kubernetes::new(connection, options.node_name.clone());
                Self::Kubernetes(Box::new(kubernetes))
            }
        })
    }

    fn watches(&self) -> Option<Arc<Watches>> {
        match self {
            Self::Manifests(_) => None,
            Self::Kubernetes(kubernetes) => Some(kubernetes.watches()),
        }
    }

    async fn watch(self, updates: mpsc::Sender<Update>) -> anyhow::Result<()> {
        match self {
            Self::Manifests(manifests) => Ok(manifests.watch(updates).await?),
            Self::Kubernetes(kubernetes) => Ok(kubernetes.watch(updates).await?),
        }
    }
}

/// Carries every change to the kernel, once everything was seen (semantics C4).
async fn drive(
    shared: &SharedEngine,
    mut changes: mpsc::Receiver<Update>,
    mut interfaces: watch::Receiver<Snapshot>,
) -> anyhow::Result<()> {
    let mut inputs = Inputs::default();
    let mut again: Option<Instant> = None;
    loop {
        let began;
        tokio::select! {
            update = changes.recv() => {
                let Some(update) = update else { return std::future::pending().await };
                began = Instant::now();
                inputs.take(shared, update);
                while let Ok(update) = changes.try_recv() {
                    inputs.take(shared, update);
                }
            }
            changed = interfaces.changed() => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
                began = Instant::now();
                shared.lock().see(interfaces.borrow_and_update().clone());
                inputs.node = true;
                inputs.news = true;
            }
            () = tokio::time::sleep_until(again.unwrap_or_else(Instant::now).into()),
                if again.is_some() => {
                began = Instant::now();
                inputs.news = true;
            }
        }
        if inputs.are_to_be_carried_out() {
            again = reconcile(shared, began)?.map(|wait| Instant::now() + wait);
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
    fn take(&mut self, shared: &SharedEngine, update: Update) {
        // What is complete for the first time is carried out though it may be nothing.
        self.news |= update.complete && !self.source;
        self.source |= update.complete;
        if !update.remarks.is_empty() {
            self.problems.take(update.remarks);
            shared.set_source_errors(self.problems.errors());
        }
        self.news |= shared.lock().apply(update.changes);
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

/// What is wrong with the source's files or objects at present.
#[derive(Default)]
struct Problems(BTreeMap<String, Vec<String>>);

impl Problems {
    /// Says what is new, and keeps the errors.
    fn take(&mut self, remarks: Vec<Remarks>) {
        for Remarks { about, list, .. } in remarks {
            let mut errors = Vec::new();
            for remark in list {
                match remark.severity {
                    Severity::Error => {
                        tracing::error!("{}", remark.text);
                        errors.push(remark.text);
                    }
                    Severity::Warning => tracing::warn!("{}", remark.text),
                    Severity::Notice => tracing::info!("{}", remark.text),
                }
            }
            if errors.is_empty() {
                self.0.remove(&about);
            } else {
                self.0.insert(about, errors);
            }
        }
    }

    fn errors(&self) -> Vec<String> {
        self.0.values().flatten().cloned().collect()
    }
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
        }
    }
}
