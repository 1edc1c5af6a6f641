//! Watching the directory.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};

use super::results::Directory;
use super::{Results, State};

/// How often the directory is read although no event arrived: it may be replaced, or a file system
/// may report no events.
const RESCAN: Duration = Duration::from_secs(2);

/// Sends the results at once, and again after each change, until there is no receiver.
pub async fn watch(path: PathBuf, results: watch::Sender<Results>) {
    let (notes, mut events) = mpsc::channel(1);
    let mut directory = Directory::new(path);
    let mut folder = Folder { watcher: watcher(notes), watched: None };
    let mut received_at = None;
    loop {
        // Watched before it is read, so that no change in between is lost.
        folder.renew(directory.path());
        let read = tokio::task::spawn_blocking(move || {
            let read = directory.read();
            (directory, read)
        });
        // The runtime stops, or the reader failed: without it the last results stay.
        let Ok((returned, (found, retry))) = read.await else { return };
        directory = returned;
        send(&results, Results { received_at, ..found });
        let wait = retry.unwrap_or(RESCAN).min(RESCAN);
        received_at = tokio::select! {
            () = results.closed() => return,
            Some(at) = events.recv() => Some(at),
            () = tokio::time::sleep(wait) => None,
        };
    }
}

/// A watcher that sends when an event arrived, unless an earlier one is still waiting to be handled.
fn watcher(notes: mpsc::Sender<Instant>) -> Option<RecommendedWatcher> {
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading a file is an event, too.
        if !event.is_ok_and(|event| event.kind.is_access() && !is_end_of_write(&event)) {
            let _ = notes.try_send(Instant::now());
        }
    });
    watcher
        .inspect_err(|error| tracing::warn!("CNI results are read every two seconds: {error}"))
        .ok()
}

fn is_end_of_write(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode, EventKind};
    matches!(event.kind, EventKind::Access(AccessKind::Close(AccessMode::Write)))
}

/// What is watched: the directory, or the nearest one above it while it is missing. libcni makes it
/// when the node's first pod starts (containernetworking/cni, `libcni/api.go`, `cacheAdd`).
struct Folder {
    watcher: Option<RecommendedWatcher>,
    watched: Option<Watched>,
}

/// A directory, by path, device and inode.
#[derive(Clone, PartialEq, Eq)]
struct Watched {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Watched {
    /// The directory, or the nearest one above it.
    fn nearest(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        path.ancestors().find_map(|path| {
            let found = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_dir)?;
            Some(Self { path: path.to_owned(), device: found.dev(), inode: found.ino() })
        })
    }
}

impl Folder {
    /// Watches the directory that is there now.
    fn renew(&mut self, path: &Path) {
        let Some(watcher) = &mut self.watcher else { return };
        // What appears before the watch begins causes no event. So the next round looks again.
        for _ in 0..=path.ancestors().count() {
            let now = Watched::nearest(path);
            if now == self.watched {
                return;
            }
            if let Some(before) = self.watched.take() {
                // This fails if the watch has ended with the directory.
                let _ = watcher.unwatch(&before.path);
            }
            self.watched =
                now.filter(|it| watcher.watch(&it.path, RecursiveMode::NonRecursive).is_ok());
        }
    }
}

fn send(results: &watch::Sender<Results>, found: Results) {
    results.send_if_modified(|current| {
        let same = found.state == current.state
            && found.sandboxes == current.sandboxes
            && found.problems == current.problems;
        if same {
            return false;
        }
        log(current, &found);
        *current = found;
        true
    });
}

fn log(before: &Results, now: &Results) {
    if before.state != now.state {
        match &now.state {
            State::Readable => tracing::info!("the container runtime's CNI results are available"),
            State::Missing { why } => {
                tracing::warn!("the container runtime's CNI results are not available: {why}");
            }
            State::Pending | State::Off => {}
        }
    }
    for (file, why) in now.problems.iter().filter(|(file, _)| !before.problems.contains_key(*file))
    {
        tracing::warn!(%file, "ignored a CNI result: {why}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far longer than an event takes; the directory is not read here from time to time.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn c6_a_directory_that_appears_is_noticed_at_once() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("cni/results");
        let (notes, mut events) = mpsc::channel(1);
        let mut folder = Folder { watcher: watcher(notes), watched: None };
        folder.renew(&path);
        for created in [path.parent().unwrap(), &path] {
            std::fs::create_dir(created).unwrap();
            let event = tokio::time::timeout(PATIENCE, events.recv()).await;
            assert!(event.is_ok(), "{}", created.display());
            folder.renew(&path);
            assert_eq!(folder.watched.as_ref().unwrap().path, created);
        }
        std::fs::write(path.join("n-c-eth0"), "{}").unwrap();
        assert!(tokio::time::timeout(PATIENCE, events.recv()).await.is_ok());
    }
}
