//! The source that the options choose, and what the API server is told.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::kube_writer::KubeWriter;
use crate::kube_events::EventCounts;
use crate::source::Update;
use crate::source::kubernetes::{ClientOptions, Connection, Kubernetes, Watches};
use crate::source::manifests::Manifests;

/// Where the cluster's state comes from.
#[derive(Debug, Clone)]
pub enum SourceOptions {
    /// Directories of manifests.
    Manifests(Vec<PathBuf>),
    /// An API server.
    Kubernetes {
        /// Which one, and as whom.
        client: ClientOptions,
        /// What it is told.
        announce: KubeWriteOptions,
    },
}

/// What the API server is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KubeWriteOptions {
    /// Whether Events are made on policies that have a mistake or don't fit.
    pub events: bool,
    /// The key of the taint that this node loses when it is ready.
    pub remove_taint: Option<String>,
}

/// A source that was not asked anything yet.
pub(super) enum Source {
    Manifests(Box<Manifests>),
    Kubernetes(Box<Kubernetes>),
}

impl Source {
    /// The source, and who tells the API server what it is to be told.
    pub(super) async fn new(
        options: &SourceOptions,
        node_name: &str,
    ) -> anyhow::Result<(Self, Option<KubeWriter>)> {
        let (client, announce) = match options {
            SourceOptions::Manifests(folders) => {
                let manifests = Manifests::new(folders.clone())?;
                return Ok((Self::Manifests(Box::new(manifests)), None));
            }
            SourceOptions::Kubernetes { client, announce } => (client, announce),
        };
        let connection = Connection::find(client).await?;
        tracing::info!(server = %connection.server(), "watching the Kubernetes API");
        let kube_writer = KubeWriter::new(&connection, announce, node_name)?;
        let kubernetes = Kubernetes::new(connection, node_name.to_owned());
        Ok((Self::Kubernetes(Box::new(kubernetes)), Some(kube_writer)))
    }

    /// How the watches are doing, if there are any.
    pub(super) fn watches(&self) -> Option<Arc<Watches>> {
        match self {
            Self::Manifests(_) => None,
            Self::Kubernetes(kubernetes) => Some(kubernetes.watches()),
        }
    }

    /// Sends updates until nobody receives them.
    pub(super) async fn watch(self, updates: mpsc::Sender<Update>) -> anyhow::Result<()> {
        match self {
            Self::Manifests(manifests) => Ok(manifests.watch(updates).await?),
            Self::Kubernetes(kubernetes) => Ok(kubernetes.watch(updates).await?),
        }
    }
}

/// What there is to observe of a source.
#[derive(Debug, Default)]
pub struct Observable {
    /// How the watches of the API server are doing.
    pub watches: Option<Arc<Watches>>,
    /// What became of the Events, if any are to be made.
    pub events: Option<Arc<EventCounts>>,
}
