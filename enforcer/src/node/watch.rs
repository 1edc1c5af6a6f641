//! Watching the node: a new snapshot after each change.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, oneshot, watch};

use super::events::{Events, Stale};
use super::view::View;
use super::{NodeError, Seen, Snapshot};

/// The time for collecting events before a refresh: the start of a pod causes about ten events.
const COALESCE: Duration = Duration::from_millis(3);

/// The longest pause between an event and the refresh.
const PAUSE_LIMIT: Duration = Duration::from_millis(250);

/// A request for a refresh. The sender is used once its snapshot was sent.
pub type Request = oneshot::Sender<()>;

/// Sends a snapshot of the node at once, and again after each change, until there is no receiver.
///
/// The first snapshot is sent even if it is empty: a receiver that has once waited for `changed()`
/// does not mistake the channel's initial value for the node's state. The network namespace is that
/// of the thread that polls this first.
///
/// A request causes a refresh without a pause. When it is answered, every change from before the
/// request was sent.
///
/// # Errors
/// See [`NodeError`]. Pods that vanish, lost events, and lists that change while they are read are
/// not errors.
pub async fn watch(
    snapshots: watch::Sender<Seen>,
    mut requests: mpsc::Receiver<Request>,
) -> Result<(), NodeError> {
    // Subscribed before the first refresh, so that no change in between is lost.
    let mut events = Events::open()?;
    let mut view = View::open()?;
    let mut stale = Stale::everything();
    let mut first = true;
    let mut received_at = None;
    let mut pending: Vec<Request> = Vec::new();
    loop {
        let refreshed = refresh(view, std::mem::take(&mut stale)).await?;
        view = refreshed.view;
        match refreshed.result {
            Ok(snapshot) => {
                send(&snapshots, Seen { snapshot, received_at }, std::mem::take(&mut first));
                for request in pending.drain(..) {
                    // The receiver may be gone.
                    let _ = request.send(());
                }
            }
            Err(NodeError::Interrupted { what }) => {
                tracing::debug!("the list of {what} keeps changing: trying again");
                stale = Stale::everything();
            }
            Err(error) => return Err(error),
        }
        // A pause in proportion to the work limits the load on a busy node. Waiting for the kernel's lock,
        // which the CNI plugins of pods that start hold, is no work.
        let pause = (refreshed.took * 2).clamp(COALESCE, PAUSE_LIMIT);
        tokio::select! {
            () = snapshots.closed() => return Ok(()),
            event = next(&mut events, &mut stale, pause) => received_at = Some(event?),
            Some(request) = requests.recv() => {
                received_at = Some(Instant::now());
                pending.push(request);
                events.drain(&mut stale)?;
            }
        }
    }
}

/// A refreshed view.
struct Refreshed {
    view: View,
    result: Result<Snapshot, NodeError>,
    /// The processor time that it took.
    took: Duration,
}

/// Refreshes the view on a thread of its own, because listing waits for locks in the kernel.
async fn refresh(mut view: View, stale: Stale) -> Result<Refreshed, NodeError> {
    let refreshed = tokio::task::spawn_blocking(move || {
        let started_at = processor_time();
        let result = view.refresh(&stale);
        Refreshed { view, result, took: processor_time().saturating_sub(started_at) }
    });
    refreshed.await.map_err(|_| NodeError::Stopped)
}

/// The time for which this thread has had a processor.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Collects events until a refresh is due; returns when the first one arrived.
async fn next(
    events: &mut Events,
    stale: &mut Stale,
    pause: Duration,
) -> Result<Instant, NodeError> {
    if !stale.all {
        events.wait(stale).await?;
    }
    let received_at = Instant::now();
    tokio::time::sleep(pause).await;
    events.drain(stale)?;
    Ok(received_at)
}

fn send(snapshots: &watch::Sender<Seen>, seen: Seen, first: bool) {
    snapshots.send_if_modified(|current| {
        let changed = first || current.snapshot != seen.snapshot;
        if changed {
            *current = seen;
        }
        changed
    });
}
