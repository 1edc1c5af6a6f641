//! Watches the directory of manifests.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// The quiet time after which a change counts as complete: editors write a file in several steps.
const CALM: Duration = Duration::from_millis(50);

/// A watched directory.
#[derive(Debug)]
pub(crate) struct Watch {
    changes: mpsc::Receiver<()>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    pub(crate) fn new(directory: &Path) -> anyhow::Result<Self> {
        let (sender, changes) = mpsc::channel(1);
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                let reading = event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_)));
                if !reading {
                    // One message is enough: the receiver reads everything again.
                    let _ = sender.try_send(());
                }
            })?;
        watcher
            .watch(directory, RecursiveMode::Recursive)
            .with_context(|| format!("watch {}", directory.display()))?;
        Ok(Self { changes, _watcher: watcher })
    }

    /// Returns after a change is complete.
    pub(crate) async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        while let Ok(Some(())) = tokio::time::timeout(CALM, self.changes.recv()).await {}
    }
}
