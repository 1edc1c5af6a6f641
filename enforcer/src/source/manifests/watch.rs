//! Watches the files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::list::{self, Identity};
use super::update::Update;
use super::{ManifestError, Manifests};

/// How long to wait for more changes: a checkout or a save touches several files.
const GATHER: Duration = Duration::from_millis(3);
/// How often to check whether the watched folders are still the same ones.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// After this time a new folder is watched, so that everything in it causes events.
const SETTLED: Duration = Duration::from_millis(100);

impl Manifests {
    /// Sends the initial state, then an update whenever files have changed; ends when the receiver
    /// is dropped. A file counts as changed when its writer has closed it, so a file that is being
    /// written never counts as empty. A folder that is replaced is watched again.
    ///
    /// # Errors
    /// The files can't be watched.
    pub async fn watch<U: From<Update>>(
        mut self,
        updates: mpsc::Sender<U>,
    ) -> Result<(), ManifestError> {
        let (notes, mut changed) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event| {
            // The receiver is gone only while this ends.
            let _ = notes.send(event);
        })?;
        let mut folders = Folders::new(watcher, &self.roots)?;
        let mut check = tokio::time::interval(CHECK_INTERVAL);
        let mut paths: BTreeSet<_> = self.roots.iter().cloned().collect();
        let mut first = true;
        let mut received_at = Instant::now();
        loop {
            let (manifests, mut update) = scan(self, std::mem::take(&mut paths)).await?;
            self = manifests;
            update.received_at = Some(received_at);
            if (first || !update.is_empty()) && updates.send(update.into()).await.is_err() {
                return Ok(());
            }
            first = false;
            while paths.is_empty() {
                tokio::select! {
                    event = changed.recv() => match event {
                        Some(event) => self.note(event, &mut folders, &mut paths),
                        None => return Ok(()),
                    },
                    () = updates.closed() => return Ok(()),
                    _ = check.tick() => paths.extend(folders.renew()),
                }
            }
            received_at = Instant::now();
            tokio::time::sleep(GATHER).await;
            while let Ok(event) = changed.try_recv() {
                self.note(event, &mut folders, &mut paths);
            }
        }
    }

    /// Adds the paths to read because of an event.
    fn note(
        &self,
        event: notify::Result<notify::Event>,
        folders: &mut Folders,
        paths: &mut BTreeSet<PathBuf>,
    ) {
        match event {
            Ok(event) if event.need_rescan() => paths.extend(self.roots.iter().cloned()),
            Ok(event) => {
                for path in &event.paths {
                    if event.kind == EventKind::Create(CreateKind::Folder) {
                        folders.new.insert(path.clone(), Instant::now());
                    }
                    if is_complete(&event.kind, path) {
                        let path = visible(path);
                        // A file named without a folder is watched as `./file`.
                        if let Ok(bare) = path.strip_prefix(".") {
                            paths.insert(bare.to_owned());
                        }
                        paths.insert(path);
                    }
                }
            }
            // Some event was missed; which one is unknown.
            Err(_) => paths.extend(self.roots.iter().cloned()),
        }
    }
}

/// The watched folders.
struct Folders {
    watcher: RecommendedWatcher,
    /// The mode and the identity of each when its watch started.
    watched: BTreeMap<PathBuf, (RecursiveMode, Option<Identity>)>,
    /// Folders in them that were created a moment ago. Files that appeared in one before its watch
    /// started caused no event.
    new: BTreeMap<PathBuf, Instant>,
}

impl Folders {
    fn new(mut watcher: RecommendedWatcher, roots: &[PathBuf]) -> Result<Self, ManifestError> {
        let mut watched = BTreeMap::new();
        for root in roots {
            let (folder, mode) = if root.is_dir() {
                (root.as_path(), RecursiveMode::Recursive)
            } else {
                // Editors replace files: only a watch of the folder notices that.
                (folder_of(root), RecursiveMode::NonRecursive)
            };
            watcher.watch(folder, mode)?;
            watched.insert(folder.to_owned(), (mode, list::identity(folder)));
        }
        Ok(Self { watcher, watched, new: BTreeMap::new() })
    }

    /// Watches replaced folders. Returns the paths to read again.
    fn renew(&mut self) -> Vec<PathBuf> {
        let settled: Vec<PathBuf> =
            self.new.extract_if(.., |_, made| made.elapsed() >= SETTLED).map(|it| it.0).collect();
        let mut look = settled;
        for (folder, (mode, known)) in &mut self.watched {
            let now = list::identity(folder);
            if now == *known {
                continue;
            }
            // This fails if the watch has ended with the folder.
            let _ = self.watcher.unwatch(folder);
            let watched = now.is_some() && self.watcher.watch(folder, *mode).is_ok();
            // If it is gone again by now, the next check finds out.
            *known = now.filter(|_| watched);
            look.push(folder.clone());
        }
        look
    }
}

async fn scan(
    mut manifests: Manifests,
    paths: BTreeSet<PathBuf>,
) -> Result<(Manifests, Update), ManifestError> {
    let scan = move || {
        let update = manifests.rescan_below(&paths);
        (manifests, update)
    };
    Ok(tokio::task::spawn_blocking(scan).await?)
}

/// Whether this event ends the change of a path.
fn is_complete(kind: &EventKind, path: &Path) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Create(CreateKind::Folder)
        | EventKind::Modify(ModifyKind::Name(_))
        | EventKind::Remove(_) => true,
        // A new file is closed later, a new link never.
        EventKind::Create(_) => is_link(path),
        _ => false,
    }
}

fn is_link(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink() || it.nlink() > 1)
}

/// The path itself, or the visible folder around a hidden one: the files of a mounted ConfigMap are
/// links through the hidden `..data`, which is replaced as a whole.
fn visible(path: &Path) -> PathBuf {
    let hidden =
        |it: &&Path| it.file_name().is_some_and(|it| it.as_encoded_bytes().starts_with(b".."));
    path.ancestors().find(hidden).and_then(Path::parent).unwrap_or(path).to_owned()
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
