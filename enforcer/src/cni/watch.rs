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

/// The directory that is watched, by device and inode.
struct Folder {
    watcher: Option<RecommendedWatcher>,
    watched: Option<(u64, u64)>,
}

impl Folder {
    /// Watches the directory that is there now.
    fn renew(&mut self, path: &Path) {
        use std::os::unix::fs::MetadataExt;
        let Some(watcher) = &mut self.watcher else { return };
        let now = std::fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
        if now == self.watched {
            return;
        }
        // This fails if the watch has ended with the directory.
        let _ = watcher.unwatch(path);
        let is_watched = now.is_some() && watcher.watch(path, RecursiveMode::NonRecursive).is_ok();
        self.watched = now.filter(|_| is_watched);
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
