//! The source that the options select.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::kube_writer::KubeWriter;
use super::options::SourceOptions;
use crate::kube_events::EventCounts;
use crate::source::Update;
use crate::source::kubernetes::{Connection, Kubernetes, Watches};
use crate::source::manifests::Manifests;

/// A source that is not read yet.
pub(super) enum Source {
    Manifests(Box<Manifests>),
    Kubernetes(Box<Kubernetes>),
}

impl Source {
    /// The source, and the writer to the API server if there is one.
    pub(super) async fn new(
        options: &SourceOptions,
        node_name: &str,
    ) -> anyhow::Result<(Self, Option<KubeWriter>)> {
        let (client, writes) = match options {
            SourceOptions::Manifests(folders) => {
                let manifests = Manifests::new(folders.clone())?;
                return Ok((Self::Manifests(Box::new(manifests)), None));
            }
            SourceOptions::Kubernetes { client, writes } => (client, writes),
        };
        let connection = Connection::find(client).await?;
        tracing::info!(server = %connection.server(), "watching the Kubernetes API");
        let writer = KubeWriter::new(&connection, writes, node_name)?;
        let kubernetes = Kubernetes::new(connection, node_name.to_owned());
        Ok((Self::Kubernetes(Box::new(kubernetes)), Some(writer)))
    }

    /// The state of the watches, if there are any.
    pub(super) fn watches(&self) -> Option<Arc<Watches>> {
        match self {
            Self::Manifests(_) => None,
            Self::Kubernetes(kubernetes) => Some(kubernetes.watches()),
        }
    }

    /// Sends updates until the receiver is closed.
    pub(super) async fn watch(self, updates: mpsc::Sender<Update>) -> anyhow::Result<()> {
        match self {
            Self::Manifests(manifests) => Ok(manifests.watch(updates).await?),
            Self::Kubernetes(kubernetes) => Ok(kubernetes.watch(updates).await?),
        }
    }
}

/// The observable state of a source.
#[derive(Debug, Default)]
pub struct Observable {
    /// The state of the API server's watches.
    pub watches: Option<Arc<Watches>>,
    /// The results of the Events, if the agent creates any.
    pub events: Option<Arc<EventCounts>>,
}
