//! The API server as a source of the cluster's state.
//!
//! ```text
//! server ═► watch (one a kind) ─► object: JSON ─► typed ─► model ─┐ events
//!             list, watch, again      (prune)  (convert)          ▼
//!                                                     tracker (one a kind) ─► changes
//! ```
//! Objects are converted while they are read; afterwards only their names are kept here. A lost
//! connection never empties anything (semantics C4, see `tracker`). The agent needs no right to
//! write, only `get`, `list` and `watch` on each [`Kind`].

mod backoff;
mod client;
mod failure;
mod gather;
mod key;
mod kind;
mod node;
mod object;
mod once;
mod prune;
mod requests;
mod state;
mod tracker;
mod transport;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{self, sleep_until};

pub use client::{ClientError, ClientOptions, Connection};
pub use kind::Kind;
pub use once::{OnceError, read_once};
pub use state::{Phase, WatchState, Watches};

use super::update::Update;
use gather::Gathered;
use tracker::Tracker;
use watch::Received;

/// Events that may wait to be processed.
const WAITING: usize = 512;

/// The objects of an API server.
#[derive(Debug)]
pub struct Kubernetes {
    connection: Connection,
    node_name: String,
    watches: Arc<Watches>,
}

impl Kubernetes {
    /// The source for the node of this name. Sends no request yet.
    #[must_use]
    pub fn new(connection: Connection, node_name: String) -> Self {
        Self { connection, node_name, watches: Arc::new(Watches::new()) }
    }

    /// The state of the watches.
    #[must_use]
    pub fn watches(&self) -> Arc<Watches> {
        Arc::clone(&self.watches)
    }

    /// Sends the initial state and then every change; ends when the receiver is dropped. An update
    /// is `complete` once every kind's first list was complete and this node was among the nodes.
    ///
    /// # Errors
    /// No client can be created, see [`Connection::client`]. Later failures are not returned: they
    /// are recorded in [`Self::watches`], and the request is retried.
    pub async fn watch<U: From<Update>>(self, updates: mpsc::Sender<U>) -> Result<(), ClientError> {
        let (events, received) = mpsc::channel(WAITING);
        let mut tasks = JoinSet::new();
        self.start::<Namespace>(&mut tasks, None, &events)?;
        self.start::<Pod>(&mut tasks, None, &events)?;
        self.start::<NetworkPolicy>(&mut tasks, None, &events)?;
        self.start::<Service>(&mut tasks, None, &events)?;
        let this_node = format!("metadata.name={}", self.node_name);
        self.start::<Node>(&mut tasks, Some(this_node), &events)?;
        drop(events);
        let client = self.connection.client()?;
        let gathered = Gathered::new(&self.node_name);
        let name = node::NodeName::new(client, self.node_name, Arc::clone(&self.watches));
        collect(received, name, gathered, &self.watches, &updates).await;
        tasks.shutdown().await;
        Ok(())
    }

    fn start<K: kind::Watch>(
        &self,
        tasks: &mut JoinSet<()>,
        fields: Option<String>,
        events: &mpsc::Sender<Received>,
    ) -> Result<(), ClientError> {
        let client = self.connection.watching(K::KIND, &self.watches)?;
        let watches = Arc::clone(&self.watches);
        tasks.spawn(watch::watch::<K>(client, fields, watches, events.clone()));
        Ok(())
    }
}

/// Turns events into updates until either channel closes.
async fn collect<U: From<Update>>(
    mut received: mpsc::Receiver<Received>,
    mut node: node::NodeName,
    mut gathered: Gathered,
    watches: &Watches,
    updates: &mpsc::Sender<U>,
) {
    let mut trackers = Trackers::new();
    let mut events = Vec::with_capacity(WAITING);
    let mut complete = false;
    loop {
        let due = gathered.due(time::Instant::now());
        let is_open = tokio::select! {
            biased;
            count = received.recv_many(&mut events, WAITING) => count > 0,
            () = sleep_until(due.unwrap_or_else(time::Instant::now)), if due.is_some() => true,
        };
        let mut update = trackers.take(events.drain(..), watches);
        let known = trackers.of(Kind::Node).is_some_and(|nodes| node.check(nodes));
        complete |= known && trackers.are_complete();
        update.complete = complete;
        gathered.add(update);
        let now = time::Instant::now();
        let is_due = gathered.due(now).is_some_and(|it| it <= now || !is_open);
        if is_due && updates.send(gathered.take(now).into()).await.is_err() || !is_open {
            return;
        }
    }
}

/// The tracker of each kind.
struct Trackers(BTreeMap<Kind, Tracker>);

impl Trackers {
    fn new() -> Self {
        Self(Kind::ALL.into_iter().map(|kind| (kind, Tracker::new(kind))).collect())
    }

    fn of(&self, kind: Kind) -> Option<&Tracker> {
        self.0.get(&kind)
    }

    fn are_complete(&self) -> bool {
        self.0.values().all(Tracker::is_complete)
    }

    /// Applies events; the caller sets whether the update is complete.
    fn take(&mut self, events: impl Iterator<Item = Received>, watches: &Watches) -> Update {
        let mut update = Update::default();
        for (kind, event, received_at) in events {
            let first = update.received_at.map_or(received_at, |it| it.min(received_at));
            update.received_at = Some(first);
            let tracker = self.0.entry(kind).or_insert_with(|| Tracker::new(kind));
            let then = tracker.take(event);
            update.changes.extend(then.changes);
            update.remarks.extend(then.remarks);
        }
        for (kind, tracker) in &self.0 {
            watches.change(*kind, |state| {
                state.complete = tracker.is_complete();
                state.objects = tracker.objects();
                state.bad = tracker.bad();
            });
        }
        update
    }
}
