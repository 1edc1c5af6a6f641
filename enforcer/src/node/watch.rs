//! Keeping a snapshot current.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::events::{Events, Stale};
use super::view::View;
use super::{NodeError, Seen, Snapshot};

/// How long to collect events before looking: the start of a pod brings about ten of them.
const COALESCE: Duration = Duration::from_millis(3);

/// The longest pause between a change and a look at it.
const PAUSE_LIMIT: Duration = Duration::from_millis(250);

/// Somebody who wants the node to be looked at now, and to be told when that was sent.
pub type Request = oneshot::Sender<()>;

/// Sends a snapshot of the node at once, and again whenever it changed, until nobody listens.
///
/// The first value sent is complete even if it is empty: a receiver that waits for
/// `changed()` once never takes the channel's initial value for the node's state. What is seen is
/// the network namespace of the thread that first polls this.
///
/// After a request it looks without waiting for more: what had happened before the request is in
/// what was sent when it is answered.
///
/// # Errors
/// See [`NodeError`]. Pods that vanish, lost events and lists that change while they are read
/// are no errors.
pub async fn watch(
    snapshots: watch::Sender<Seen>,
    mut requests: mpsc::Receiver<Request>,
) -> Result<(), NodeError> {
    // Subscribed before the first look: what changes in between is an event.
    let mut events = Events::open()?;
    let mut view = View::open()?;
    let mut stale = Stale::everything();
    let mut first = true;
    let mut heard = None;
    let mut asked: Vec<Request> = Vec::new();
    loop {
        let began = Instant::now();
        let result;
        (view, result) = look(view, std::mem::take(&mut stale)).await?;
        match result {
            Ok(snapshot) => {
                send(&snapshots, Seen { snapshot, heard }, std::mem::take(&mut first));
                // Whoever asked may have given up.
                for request in asked.drain(..) {
                    let _ = request.send(());
                }
            }
            Err(NodeError::Interrupted { what }) => {
                tracing::debug!("the list of {what} keeps changing: looking again");
                stale = Stale::everything();
            }
            Err(error) => return Err(error),
        }
        // A pause in proportion to the work keeps a busy node from looking all the time.
        let pause = (began.elapsed() * 2).clamp(COALESCE, PAUSE_LIMIT);
        tokio::select! {
            () = snapshots.closed() => return Ok(()),
            came = next(&mut events, &mut stale, pause) => heard = Some(came?),
            Some(request) = requests.recv() => {
                heard = Some(Instant::now());
                asked.push(request);
                events.drain(&mut stale)?;
            }
        }
    }
}

/// Listing waits for locks of the kernel's, so it keeps off the runtime's own threads.
async fn look(
    mut view: View,
    stale: Stale,
) -> Result<(View, Result<Snapshot, NodeError>), NodeError> {
    let looked = tokio::task::spawn_blocking(move || {
        let result = view.refresh(&stale);
        (view, result)
    });
    looked.await.map_err(|_| NodeError::Stopped)
}

/// Collects events until there is reason to look. When the first came.
async fn next(
    events: &mut Events,
    stale: &mut Stale,
    pause: Duration,
) -> Result<Instant, NodeError> {
    if !stale.all {
        events.wait(stale).await?;
    }
    let came = Instant::now();
    tokio::time::sleep(pause).await;
    events.drain(stale)?;
    Ok(came)
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
