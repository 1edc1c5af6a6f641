//! Reads the cluster's state once, for commands that do not follow it.

use std::sync::Arc;
use std::time::Duration;

use enforcer_core::model::Cluster;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::collect::{Trackers, WAITING};
use super::kind::{Kind, Watch};
use super::tracker::Tracker;
use super::{ClientError, Connection, Watches, watch};
use crate::source::Remarks;

/// The kinds that the model consists of.
const KINDS: [Kind; 4] = [Kind::Namespace, Kind::Pod, Kind::Policy, Kind::Service];

/// The cluster's state can't be read.
#[derive(Debug, thiserror::Error)]
pub enum OnceError {
    /// No client can be created.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The lists were not complete in time.
    #[error("the API server {server} did not answer within {seconds} s: {missing}")]
    Incomplete {
        /// The server.
        server: String,
        /// The patience.
        seconds: u64,
        /// What is missing, and why.
        missing: String,
    },
}

/// Lists namespaces, pods, policies and Services; returns them with the remarks on bad objects. The
/// rights that it needs are `list` and `watch` on these kinds.
///
/// # Errors
/// No client can be created, or the lists are not complete within `patience`.
pub async fn read_once(
    connection: &Connection,
    patience: Duration,
) -> Result<(Cluster, Vec<Remarks>), OnceError> {
    let watches = Arc::new(Watches::new());
    let (events, received) = mpsc::channel(WAITING);
    let mut tasks = JoinSet::new();
    start::<Namespace>(connection, &mut tasks, &watches, &events)?;
    start::<Pod>(connection, &mut tasks, &watches, &events)?;
    start::<NetworkPolicy>(connection, &mut tasks, &watches, &events)?;
    start::<Service>(connection, &mut tasks, &watches, &events)?;
    drop(events);
    let read = tokio::time::timeout(patience, collect(received, &watches)).await;
    tasks.shutdown().await;
    read.map_err(|_| {
        let states = watches.states().into_iter();
        let states = states.filter(|(kind, state)| KINDS.contains(kind) && !state.complete);
        let missing = states.map(|(kind, state)| match state.failing {
            Some(why) => why,
            None => format!("the list of {} is not complete", kind.resource()),
        });
        let missing = missing.collect::<Vec<_>>().join("; ");
        let seconds = patience.as_secs();
        OnceError::Incomplete { server: connection.server().to_string(), seconds, missing }
    })
}

fn start<K: Watch>(
    connection: &Connection,
    tasks: &mut JoinSet<()>,
    watches: &Arc<Watches>,
    events: &mpsc::Sender<watch::Received>,
) -> Result<(), ClientError> {
    let client = connection.watching(K::KIND, watches)?;
    tasks.spawn(watch::watch::<K>(client, None, Arc::clone(watches), events.clone()));
    Ok(())
}

/// Collects events until every kind's first list is complete.
async fn collect(
    mut received: mpsc::Receiver<watch::Received>,
    watches: &Watches,
) -> (Cluster, Vec<Remarks>) {
    let mut trackers = Trackers::new();
    let mut cluster = Cluster::default();
    let mut remarks = Vec::new();
    let mut events = Vec::with_capacity(WAITING);
    while received.recv_many(&mut events, WAITING).await > 0 {
        let update = trackers.take(events.drain(..), watches);
        for change in update.changes {
            cluster.apply(change);
        }
        remarks.extend(update.remarks);
        if KINDS.iter().all(|kind| trackers.of(*kind).is_some_and(Tracker::is_complete)) {
            break;
        }
    }
    (cluster, remarks)
}
