//! Watches the directory of manifests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// The quiet time after which a change counts as complete: editors write a file in several steps.
const CALM: Duration = Duration::from_millis(50);

/// The content of the files below a directory.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A watched directory.
#[derive(Debug)]
pub(crate) struct Watch {
    directory: PathBuf,
    /// The files at the last change.
    files: Files,
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
        let files = files(directory);
        Ok(Self { directory: directory.to_owned(), files, changes, _watcher: watcher })
    }

    /// Returns after a change is complete. A file that is touched, or saved as it was, is no change.
    pub(crate) async fn changed(&mut self) {
        loop {
            if self.changes.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            while let Ok(Some(())) = tokio::time::timeout(CALM, self.changes.recv()).await {}
            let files = files(&self.directory);
            if files != self.files {
                self.files = files;
                return;
            }
        }
    }
}

/// Files that can't be read are left out: they may be gone at the next look.
fn files(directory: &Path) -> Files {
    let mut found = Files::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                _ => {
                    if let Ok(content) = fs::read(&path) {
                        found.insert(path, content);
                    }
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_another_content_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        fs::write(&file, "a").unwrap();
        let mut watch = Watch::new(folder.path()).unwrap();
        fs::write(&file, "a").unwrap();
        fs::File::options().append(true).open(&file).unwrap().sync_all().unwrap();
        // The content decides, so nothing but the later change can end this.
        let (changed, ()) = tokio::join!(watch.changed(), async {
            tokio::time::sleep(4 * CALM).await;
            fs::write(&file, "b").unwrap();
        });
        let () = changed;
        assert_eq!(watch.files.get(&file).map(Vec::as_slice), Some(b"b".as_slice()));
    }
}
