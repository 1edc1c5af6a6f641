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
mod collect;
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

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub use client::{ClientError, ClientOptions, Connection};
pub use kind::Kind;
pub use once::{OnceError, read_once};
pub use state::{Phase, WatchState, Watches};

use super::update::Update;
use collect::{WAITING, collect};
use gather::Gathered;
use watch::Received;

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
