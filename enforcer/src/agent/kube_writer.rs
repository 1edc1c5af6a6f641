//! Tells the API server what it is to be told, when it is time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use kube::Client;

use super::Reconciler;
use super::problems::Problems;
use super::source::KubeWriteOptions;
use crate::kube_events::{EventCounts, Events, findings};
use crate::source::kubernetes::{ClientError, Connection};
use crate::taint::remove_taint;

/// Tells the API server what it is to be told. Nothing here waits.
pub(super) struct KubeWriter {
    client: Client,
    node_name: String,
    events: Option<(Events, Arc<EventCounts>)>,
    /// Until it is being removed.
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
        let events = options.events.then(|| {
            let counts = Arc::new(EventCounts::default());
            (Events::new(client.clone(), node_name.clone(), Arc::clone(&counts)), counts)
        });
        Ok(Self { client, node_name, events, taint: options.remove_taint.clone() })
    }

    /// What became of the Events, if any are to be made.
    pub(super) fn counts(&self) -> Option<Arc<EventCounts>> {
        self.events.as_ref().map(|(_, counts)| Arc::clone(counts))
    }

    /// The node's policies are enforced now, as the reconciler has them.
    pub(super) fn enforced(&mut self, reconciler: &Reconciler, problems: &Problems) {
        if let Some(taint) = self.taint.take() {
            let (client, node_name) = (self.client.clone(), self.node_name.clone());
            tokio::spawn(remove_taint(client, node_name, taint));
        }
        if let Some((events, _)) = &mut self.events {
            let local: BTreeSet<_> = reconciler.assignment.pods.values().collect();
            let unrepresented = &reconciler.unrepresented;
            let found =
                findings(&reconciler.cluster, &local, problems.of_policies(), unrepresented);
            events.say(found, Instant::now());
        }
    }
}
