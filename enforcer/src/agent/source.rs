//! The source that the options select.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::kube_writer::KubeWriter;
use super::options::SourceOptions;
use crate::kube_events::EventCounts;
use crate::source::Update;
use crate::source::kubernetes::{Connection, Kubernetes, Watches};
use crate::source::manifests::Manifests;

/// Sends updates until the receiver is closed.
pub(super) type Watch = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// A source that is not read yet.
pub(super) struct Source {
    pub(super) watch: Watch,
    pub(super) observable: Observable,
    /// The writer to the API server, if there is one.
    pub(super) writer: Option<KubeWriter>,
}

/// The observable state of a source.
#[derive(Debug, Default)]
pub struct Observable {
    /// The state of the API server's watches.
    pub watches: Option<Arc<Watches>>,
    /// The results of the Events, if the agent creates any.
    pub events: Option<Arc<EventCounts>>,
}

impl Source {
    /// Opens the source that the options select.
    pub(super) async fn open(
        options: &SourceOptions,
        node_name: &str,
        updates: mpsc::Sender<Update>,
    ) -> anyhow::Result<Self> {
        let (client, writes) = match options {
            SourceOptions::Manifests(folders) => {
                let manifests = Manifests::new(folders.clone())?;
                let watch = Box::pin(async { Ok(manifests.watch(updates).await?) });
                return Ok(Self { watch, observable: Observable::default(), writer: None });
            }
            SourceOptions::Kubernetes { client, writes } => (client, writes),
        };
        let connection = Connection::find(client).await?;
        tracing::info!(server = %connection.server(), "watching the Kubernetes API");
        let writer = KubeWriter::new(&connection, writes, node_name)?;
        let kubernetes = Kubernetes::new(connection, node_name.to_owned());
        let observable =
            Observable { watches: Some(kubernetes.watches()), events: writer.counts() };
        let watch = Box::pin(async { Ok(kubernetes.watch(updates).await?) });
        Ok(Self { watch, observable, writer: Some(writer) })
    }
}
