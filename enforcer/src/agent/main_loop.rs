//! The main loop, which drives the reconciler, in the reconciler's thread.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;

use super::activity::{Activity, Noted};
use super::kube_writer::KubeWriter;
use super::pace::{Concern, Pace};
use super::pod_starts::PodStarts;
use super::problems::Problems;
use super::reconciler::{Reconciled, Reconciler};
use super::shared::Shared;
use super::watchdog;
use crate::cni::{Results, State};
use crate::kernel::release_start_up_memory;
use crate::node::{self, Seen};
use crate::nri;
use crate::observe::Observed as _;
use crate::source::Update;

/// The longest wait for a fresh snapshot of the node.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_millis(500);

/// What the main loop receives from other tasks.
pub(super) struct Channels {
    pub(super) changes: mpsc::Receiver<Update>,
    pub(super) node: Node,
    /// The container runtime's events.
    pub(super) runtime: mpsc::UnboundedReceiver<nri::Event>,
    /// The container runtime's CNI results.
    pub(super) results: watch::Receiver<Results>,
    pub(super) writer: Option<KubeWriter>,
}

/// The watch of the node.
pub(super) struct Node {
    pub(super) interfaces: watch::Receiver<Seen>,
    pub(super) requests: mpsc::Sender<node::Request>,
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
pub(super) async fn drive(
    reconciler: &RefCell<Reconciler>,
    shared: &Shared,
    channels: Channels,
) -> anyhow::Result<()> {
    let Channels { mut changes, mut node, mut runtime, mut results, mut writer } = channels;
    let mut inputs = Inputs::new(reconciler, shared);
    // The records of pods that run already come before the first reconciliation.
    let first = results.wait_for(|it| it.state != State::Pending).await.map(|it| it.clone());
    reconciler.borrow_mut().take_results(first?);
    let mut again: Option<Instant> = None;
    let mut activity = Activity::default();
    let mut ticks = tokio::time::interval(watchdog::INTERVAL);
    loop {
        shared.reset_watchdog();
        let due = inputs.due(Instant::now());
        tokio::select! {
            update = changes.recv() => {
                let Some(update) = update else { return std::future::pending().await };
                inputs.take(update);
                while let Ok(update) = changes.try_recv() {
                    inputs.take(update);
                }
            }
            changed = node.interfaces.changed() => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
                inputs.see(&mut node);
            }
            Some(event) = runtime.recv() => inputs.take_event(&mut node, event).await,
            Ok(()) = results.changed() => inputs.take_results(&mut node, &mut results).await,
            () = sleep_until(again.unwrap_or_else(Instant::now).into()), if again.is_some() => {
                again = None;
                inputs.pace.note(Instant::now(), Concern::Here);
            }
            () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {}
            // A loop that stands still is noticed, although nothing changes.
            _ = ticks.tick() => reconciler.borrow_mut().older.ran(Instant::now()),
        }
        let now = Instant::now();
        if inputs.due(now).is_some_and(|it| it <= now) {
            let received_at = inputs.pace.start().unwrap_or(now);
            let mut reconciler = reconciler.borrow_mut();
            let wait = reconcile(&mut reconciler, shared, &mut activity, received_at)?;
            again = wait.map(|wait| now + wait);
            if let Some(at) = inputs.complete_at.take() {
                let seconds = at.elapsed().as_secs_f64();
                tracing::info!(seconds, "the first complete state is enforced");
                release_start_up_memory();
            }
            inputs.starts.settle(&reconciler);
            if let Some(writer) = &mut writer {
                writer.enforced(&reconciler, &inputs.problems);
            }
            inputs.pace.end(now, Instant::now());
        }
        if let Some(noted) = activity.take(Instant::now()) {
            let Noted { changes, writes, known_pods, longest } = noted;
            let pods = reconciler.borrow().assignment.pods.len();
            tracing::info!(changes, writes, known_pods, pods, ?longest, "programmed");
        }
    }
}

/// The inputs that have arrived so far.
struct Inputs<'a> {
    reconciler: &'a RefCell<Reconciler>,
    shared: &'a Shared,
    /// Whether the source is complete.
    source: bool,
    /// When the last part of the source's first complete state arrived, until it is enforced.
    complete_at: Option<Instant>,
    /// Whether the node has been seen.
    node: bool,
    pace: Pace,
    problems: Problems,
    starts: PodStarts,
}

impl<'a> Inputs<'a> {
    fn new(reconciler: &'a RefCell<Reconciler>, shared: &'a Shared) -> Self {
        Self {
            reconciler,
            shared,
            source: false,
            complete_at: None,
            node: false,
            pace: Pace::default(),
            problems: Problems::default(),
            starts: PodStarts::default(),
        }
    }

    /// When to reconcile; `None`: there is nothing to enforce yet.
    fn due(&self, now: Instant) -> Option<Instant> {
        let is_complete = self.source && self.node;
        self.pace.due(now).filter(|_| is_complete)
    }

    /// Takes an update.
    fn take(&mut self, update: Update) {
        // The first complete state is enforced even if it is empty.
        let mut changed = update.complete && !self.source;
        if changed {
            self.complete_at = update.received_at.or_else(|| Some(Instant::now()));
        }
        self.source |= update.complete;
        if !update.remarks.is_empty() {
            self.problems.take(update.remarks);
            self.shared.set_source_errors(self.problems.errors());
            // Remarks change nothing in the kernel, but may need an Event.
            changed = true;
        }
        changed |= self.reconciler.borrow_mut().apply(update.changes);
        if changed {
            let concern = if update.concerns_node { Concern::Here } else { Concern::Elsewhere };
            self.pace.note(update.received_at.unwrap_or_else(Instant::now), concern);
        }
    }

    /// Takes a snapshot of the node.
    fn see(&mut self, node: &mut Node) {
        let Seen { snapshot, received_at } = node.interfaces.borrow_and_update().clone();
        let received_at = received_at.unwrap_or_else(Instant::now);
        self.node = true;
        let has_new = self.reconciler.borrow_mut().see(snapshot);
        self.pace.note(received_at, if has_new { Concern::Start } else { Concern::Here });
    }

    /// Takes an event of the container runtime.
    async fn take_event(&mut self, node: &mut Node, event: nri::Event) {
        if let nri::Event::Started(..) = event {
            self.refresh(node).await;
        }
        self.starts.take(&mut self.reconciler.borrow_mut(), event);
        self.pace.note(Instant::now(), Concern::Start);
    }

    /// Takes the container runtime's CNI results.
    async fn take_results(&mut self, node: &mut Node, results: &mut watch::Receiver<Results>) {
        self.refresh(node).await;
        let results = results.borrow_and_update().clone();
        let received_at = results.received_at.unwrap_or_else(Instant::now);
        self.reconciler.borrow_mut().take_results(results);
        self.pace.note(received_at, Concern::Start);
    }

    /// Requests a fresh snapshot of the node and takes it.
    async fn refresh(&mut self, node: &mut Node) {
        node.refresh().await;
        // Before the first snapshot the node is unknown, not empty (semantics C4).
        if node.interfaces.has_changed().unwrap_or(false) {
            self.see(node);
        }
    }
}

/// Enforces the present state. Returns the time until the next reconciliation, if one is needed
/// although nothing changes.
fn reconcile(
    reconciler: &mut Reconciler,
    shared: &Shared,
    activity: &mut Activity,
    received_at: Instant,
) -> anyhow::Result<Option<Duration>> {
    let Reconciled { writes, waited, again } =
        reconciler.reconcile().context("cannot program the kernel's tables")?;
    for problem in &reconciler.unrepresented {
        tracing::error!(pod = %problem.pod, "fails closed: {}", problem.reason);
    }
    shared.publish(reconciler);
    shared.set_ready();
    for (pod, unknown) in waited {
        shared.metrics().was_unknown(unknown);
        activity.known();
        tracing::debug!(%pod, ?unknown, "the pod behind an interface is known now");
    }
    if writes > 0 {
        let (took, pods) = (received_at.elapsed(), reconciler.assignment.pods.len());
        shared.metrics().programmed(took);
        activity.programmed(writes, took);
        tracing::debug!(writes, pods, ?took, "a change is programmed");
    }
    Ok(again)
}
