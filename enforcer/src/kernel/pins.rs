//! The folder of pins in the BPF file system: the objects that outlive the agent (semantics C3).
//!
//! ```text
//! DIR/net-4026531840/              one network namespace, by its inode
//!     links/7-in, links/7-out      the programs of interface 7: a TCX link; removing it detaches.
//!                                  An empty folder if the program is a filter of a clsact qdisc
//!     links/7-qdisc                an empty folder: the agent added that qdisc
//!     settled                      counters of ended endpoints, by namespace
//!     parts-93                     the programs that one set's to_pod calls last, by the table's id
//!     tables-4-196608-2048/        flows, counters and owners, in tables of this layout
//!     trial/                       while trial programs are loaded, the tables that they share
//! ```
//! The tables with policy are not pinned: the attached programs keep those that they read, and a
//! starting agent makes its own beside them ([`super::Kernel::load_pinned`]).

use std::fs::{self, DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use enforcer_ebpf::contract::ABI_VERSION;
use enforcer_ebpf::contract::table::Limits;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

/// The folder with a pin or marker for each hook.
const LINKS: &str = "links";
/// The folder with the tables that trial programs share, while these are loaded.
pub(super) const TRIAL: &str = "trial";

/// The reason why the folder of pins can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// The folder is not in a BPF file system.
    #[error(
        "{} is not in a BPF file system: mount one with `mount -t bpf bpf /sys/fs/bpf`, or choose another folder with --pins",
        path.display()
    )]
    NotBpf {
        /// The folder.
        path: PathBuf,
    },
    /// Another agent enforces in this network namespace.
    #[error("another agent enforces here: it holds the lock on {}", path.display())]
    Busy {
        /// The locked folder.
        path: PathBuf,
    },
    /// A file or folder can't be used.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// A table's name and the path of its pin.
pub(super) type TablePin = (&'static str, PathBuf);

/// The folder of pins, locked: its holder is the only agent of this network namespace.
#[derive(Debug)]
pub struct Pins {
    folder: PathBuf,
    lock: Flock<File>,
}

impl Pins {
    /// Opens or makes this network namespace's folder below `root`, and locks it.
    ///
    /// # Errors
    /// See [`PinsError`].
    pub fn open(root: &Path) -> Result<Self, PinsError> {
        check_file_system(root)?;
        let folder = root.join(format!("net-{}", this_namespace()?));
        let lock = lock(&folder)?;
        Ok(Self { folder, lock })
    }

    /// Makes and locks the folder again if it was removed, or if another file system was mounted
    /// over it. Returns whether that was so: its pins are gone then.
    ///
    /// # Errors
    /// See [`PinsError`].
    pub fn restore(&mut self) -> Result<bool, PinsError> {
        let identity = |it: Metadata| (it.dev(), it.ino());
        let held = self.lock.metadata().map(identity).map_err(|it| unusable(&self.folder, it))?;
        if fs::metadata(&self.folder).is_ok_and(|it| identity(it) == held) {
            make(&self.links())?;
            return Ok(false);
        }
        check_file_system(&self.folder)?;
        // A successor that waits for the old folder must not run beside this agent.
        self.lock = lock(&self.folder)?;
        Ok(true)
    }

    /// The folder with a pin, or a marker folder, for each hook that has a program.
    pub(super) fn links(&self) -> PathBuf {
        self.folder.join(LINKS)
    }

    /// The folder for tables of this layout.
    pub(super) fn tables(&self, limits: &Limits) -> PathBuf {
        let Limits { flows, endpoints, .. } = limits;
        let layout = format!("tables-{ABI_VERSION}-{flows}-{endpoints}");
        self.folder.join(layout)
    }

    /// The pin of the counters of ended endpoints.
    pub(super) fn retired_counters(&self) -> PathBuf {
        self.folder.join("settled")
    }

    /// An empty folder for the tables that several sets of programs share while they are loaded.
    pub(super) fn staging(&self) -> Result<PathBuf, PinsError> {
        let folder = self.folder.join("staging");
        if folder.exists() {
            remove_tree(&folder)?;
        }
        make(&folder)?;
        Ok(folder)
    }

    /// The folders with tables of other layouts.
    pub(super) fn other_tables(&self, current: &Path) -> Result<Vec<PathBuf>, PinsError> {
        let mut others = entries(&self.folder)?;
        others.retain(|path| path != current && name(path).starts_with("tables-"));
        Ok(others)
    }

    /// Whether there are tables of any layout.
    pub(super) fn has_tables(&self) -> Result<bool, PinsError> {
        Ok(entries(&self.folder)?.iter().any(|path| name(path).starts_with("tables-")))
    }

    /// Removes the folder and everything in it. Nothing in it may be in use any more.
    pub(super) fn remove(self) -> Result<(), PinsError> {
        remove_tree(&self.folder)?;
        // It may hold the folders of other network namespaces.
        if let Some(root) = self.folder.parent() {
            let _ = fs::remove_dir(root);
        }
        Ok(())
    }
}

fn check_file_system(folder: &Path) -> Result<(), PinsError> {
    let existing = folder.ancestors().find(|it| it.exists()).unwrap_or(Path::new("/"));
    let kind = statfs(existing).map_err(|errno| unusable(existing, errno))?.filesystem_type();
    if kind == BPF_FS_MAGIC { Ok(()) } else { Err(PinsError::NotBpf { path: folder.to_owned() }) }
}

/// Makes the folder, and locks it.
fn lock(folder: &Path) -> Result<Flock<File>, PinsError> {
    make(&folder.join(LINKS))?;
    let file = File::open(folder).map_err(|source| unusable(folder, source))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, Errno::EWOULDBLOCK)) => Err(PinsError::Busy { path: folder.to_owned() }),
        Err((_, errno)) => Err(unusable(folder, errno)),
    }
}

/// Makes a folder that only root may read.
pub(super) fn make(folder: &Path) -> Result<(), PinsError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| unusable(folder, source))
}

/// The paths in a folder, sorted by name.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, PinsError> {
    let failed = |source| unusable(folder, source);
    let mut entries = fs::read_dir(folder)
        .map_err(failed)?
        .map(|entry| entry.map(|it| it.path()).map_err(failed))
        .collect::<Result<Vec<_>, _>>()?;
    entries.sort();
    Ok(entries)
}

/// Removes a folder and everything in it.
pub(super) fn remove_tree(folder: &Path) -> Result<(), PinsError> {
    fs::remove_dir_all(folder).map_err(|source| unusable(folder, source))
}

/// Removes a pin.
pub(super) fn remove_pin(path: &Path) -> Result<(), PinsError> {
    fs::remove_file(path).map_err(|source| unusable(path, source))
}

/// The last part of a path as text.
pub(super) fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn this_namespace() -> Result<u64, PinsError> {
    let path = Path::new("/proc/thread-self/ns/net");
    fs::metadata(path).map(|it| it.ino()).map_err(|source| unusable(path, source))
}

fn unusable(path: &Path, source: impl Into<io::Error>) -> PinsError {
    PinsError::Io { path: path.to_owned(), source: source.into() }
}
