//! The agent's writes to the API server: Events, and the removal of a taint.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use kube::Client;
use tokio::runtime::Handle;

use super::options::KubeWriteOptions;
use super::problems::Problems;
use super::reconciler::Reconciler;
use crate::kube_events::{EventCounts, Events, findings};
use crate::source::kubernetes::{ClientError, Connection};
use crate::taint::remove_taint;

/// Writes to the API server in the background. Nothing here waits.
pub(super) struct KubeWriter {
    client: Client,
    node_name: String,
    /// Where the writes run: not in the reconciler's thread.
    runtime: Handle,
    events: Option<Events>,
    /// The key of the taint whose removal has not started yet.
    taint: Option<String>,
}

impl KubeWriter {
    pub(super) fn new(
        connection: &Connection,
        options: &KubeWriteOptions,
        node_name: &str,
    ) -> Result<Self, ClientError> {
        let client = connection.client()?;
        let node_name = node_name.to_owned();
        let events = options.events.then(|| Events::new(client.clone(), node_name.clone()));
        let runtime = Handle::current();
        Ok(Self { client, node_name, runtime, events, taint: options.remove_taint.clone() })
    }

    /// The results of the Events, if the agent creates any.
    pub(super) fn counts(&self) -> Option<Arc<EventCounts>> {
        self.events.as_ref().map(Events::counts)
    }

    /// Notes that the reconciler's state is enforced.
    pub(super) fn enforced(&mut self, reconciler: &Reconciler, problems: &Problems) {
        if let Some(taint) = self.taint.take() {
            let (client, node_name) = (self.client.clone(), self.node_name.clone());
            self.runtime.spawn(remove_taint(client, node_name, taint));
        }
        if let Some(events) = &mut self.events {
            let local: BTreeSet<_> = reconciler.assignment.pods.values().collect();
            let unrepresented = &reconciler.unrepresented;
            let found =
                findings(&reconciler.cluster, &local, problems.of_policies(), unrepresented);
            events.report(found, Instant::now());
        }
    }
}
