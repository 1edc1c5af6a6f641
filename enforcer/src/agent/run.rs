//! The loop that drives the engine.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::starts::Starts;
use super::{Engine, Reconciled, SharedEngine, UnknownPod, flows};
use crate::kernel::{DropReader, ProgramLog, Settings};
use crate::node::{self, Snapshot};
use crate::nri;
use crate::observe::{DropRecord, Names, Observed as _, serve};
use crate::source::manifests::{Manifests, Severity, Update};

/// How the agent runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directories of manifests.
    pub manifests: Vec<PathBuf>,
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
    /// How the container runtime is asked to let pods wait for their policy (semantics C6).
    pub nri: nri::Options,
    /// How the programs are loaded.
    pub settings: Settings,
}

/// How often the ring buffers of drop events and log lines are looked at; they wake nobody.
const DROPS_INTERVAL: Duration = Duration::from_millis(100);

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// The programs can't be loaded, a source or the node can't be read, or a table not written.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let manifests = Manifests::new(options.manifests.clone())?;
    let mut engine = Engine::new(&options).context("cannot start the datapath")?;
    let drops = engine.take_drops()?;
    let log = options.settings.log.then(|| engine.take_program_log()).transpose()?;
    let shared = SharedEngine::new(engine, options.nri.mode);
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
    let (told, runtime) = mpsc::unbounded_channel();
    start_plugin(&options.nri, told, &shared);
    let mut manifests = tokio::spawn(manifests.watch(updates));
    let mut node = tokio::spawn(node::watch(snapshots));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let result = tokio::select! {
        result = drive(&shared, changes, interfaces, runtime) => result,
        result = watch_drops(&shared, drops, log) => result,
        result = flows::keep(&shared) => result,
        ended = &mut manifests => Err(ended?.err().map_or_else(
            || anyhow::anyhow!("the manifests are not watched any more"), Into::into)),
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

/// Carries every change to the kernel, once everything was seen (semantics C4).
async fn drive(
    shared: &SharedEngine,
    mut changes: mpsc::Receiver<Update>,
    mut interfaces: watch::Receiver<Snapshot>,
    mut runtime: mpsc::UnboundedReceiver<nri::Event>,
) -> anyhow::Result<()> {
    let mut starts = Starts::default();
    let mut have_manifests = false;
    let mut have_node = false;
    let mut problems = Problems::default();
    let mut again: Option<Instant> = None;
    loop {
        let began;
        tokio::select! {
            update = changes.recv() => {
                let Some(update) = update else { return std::future::pending().await };
                began = Instant::now();
                take(shared, &mut problems, update);
                while let Ok(update) = changes.try_recv() {
                    take(shared, &mut problems, update);
                }
                have_manifests = true;
            }
            changed = interfaces.changed() => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
                began = Instant::now();
                shared.lock().see(interfaces.borrow_and_update().clone());
                have_node = true;
            }
            Some(event) = runtime.recv() => {
                began = Instant::now();
                starts.take(&mut shared.lock(), event);
            }
            () = tokio::time::sleep_until(again.unwrap_or_else(Instant::now).into()),
                if again.is_some() => began = Instant::now(),
        }
        if have_manifests && have_node {
            again = reconcile(shared, began)?.map(|wait| Instant::now() + wait);
            starts.settle(&shared.lock());
        }
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

/// What is wrong with the manifests at present, by file.
#[derive(Default)]
struct Problems(std::collections::BTreeMap<PathBuf, Vec<String>>);

fn take(shared: &SharedEngine, problems: &mut Problems, update: Update) {
    for report in &update.reports {
        problems.0.remove(&report.file);
    }
    for report in update.reports {
        match report.severity {
            Severity::Error => {
                tracing::error!("{report}");
                problems.0.entry(report.file.clone()).or_default().push(report.to_string());
            }
            Severity::Warning => tracing::warn!("{report}"),
            Severity::Notice => tracing::info!("{report}"),
        }
    }
    shared.set_manifest_errors(problems.0.values().flatten().cloned().collect());
    shared.lock().apply(update.changes);
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
