//! What outlives the agent, in the BPF file system (semantics C3).
//!
//! ```text
//! DIR/net-4026531840/              for one network namespace, by its inode
//!     links/7-in, links/7-out      the programs of interface 7: a TCX link; removing it detaches.
//!                                  An empty folder where the program is a filter of a clsact qdisc
//!     links/7-qdisc                an empty folder: that qdisc is ours
//!     settled                      what ended endpoints have counted, by namespace
//!     tables-1-131072-65536-2048/  flows, counters and owners, for tables of this layout
//! ```
//! The tables that policy is written to are not here: programs keep those that they read, and a
//! starting agent makes its own beside them ([`super::Kernel::load_pinned`]).

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use enforcer_ebpf::contract::ABI_VERSION;
use enforcer_ebpf::contract::table::Limits;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

/// Why nothing can be kept.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// The folder is not in a BPF file system.
    #[error(
        "{} is in no BPF file system: `mount -t bpf bpf /sys/fs/bpf` makes one, and --pins chooses another folder",
        path.display()
    )]
    NotBpf {
        /// The folder.
        path: PathBuf,
    },
    /// Another agent enforces in this network namespace.
    #[error("another agent enforces here: it holds the lock on {}", path.display())]
    Busy {
        /// What it has locked.
        path: PathBuf,
    },
    /// The folder can't be used.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// What can't be used.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The folder of pins, locked: whoever has it is the only agent of this network namespace.
#[derive(Debug)]
pub struct Pins {
    folder: PathBuf,
    _lock: Flock<File>,
}

impl Pins {
    /// Opens or makes the folder for this network namespace below `root`, and locks it.
    ///
    /// # Errors
    /// See [`PinsError`].
    pub fn open(root: &Path) -> Result<Self, PinsError> {
        let there = root.ancestors().find(|it| it.exists()).unwrap_or(Path::new("/"));
        let kind = statfs(there).map_err(|errno| unusable(there, errno))?.filesystem_type();
        if kind != BPF_FS_MAGIC {
            return Err(PinsError::NotBpf { path: root.to_owned() });
        }
        let folder = root.join(format!("net-{}", this_namespace()?));
        make(&folder.join("links"))?;
        let file = File::open(&folder).map_err(|source| unusable(&folder, source))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { folder, _lock: lock }),
            Err((_, Errno::EWOULDBLOCK)) => Err(PinsError::Busy { path: folder }),
            Err((_, errno)) => Err(unusable(&folder, errno)),
        }
    }

    /// Where there is a pin, or a note, for each hook that has a program.
    pub(super) fn links(&self) -> PathBuf {
        self.folder.join("links")
    }

    /// Where tables of this layout are.
    pub(super) fn tables(&self, limits: &Limits) -> PathBuf {
        let Limits { flows, opening_flows, endpoints, .. } = limits;
        let layout = format!("tables-{ABI_VERSION}-{flows}-{opening_flows}-{endpoints}");
        self.folder.join(layout)
    }

    /// Where the table of what ended endpoints have counted is.
    pub(super) fn settled(&self) -> PathBuf {
        self.folder.join("settled")
    }

    /// An empty folder for what several sets of programs share while they are loaded.
    pub(super) fn staging(&self) -> Result<PathBuf, PinsError> {
        let folder = self.folder.join("staging");
        if folder.exists() {
            remove_tree(&folder)?;
        }
        make(&folder)?;
        Ok(folder)
    }

    /// The folders of tables of other layouts.
    pub(super) fn other_tables(&self, current: &Path) -> Result<Vec<PathBuf>, PinsError> {
        let mut others = entries(&self.folder)?;
        others.retain(|path| path != current && name(path).starts_with("tables-"));
        Ok(others)
    }

    /// Whether there are tables of any layout.
    pub(super) fn has_tables(&self) -> Result<bool, PinsError> {
        Ok(entries(&self.folder)?.iter().any(|path| name(path).starts_with("tables-")))
    }

    /// Removes everything, once nothing in it is in use any more.
    pub(super) fn remove(self) -> Result<(), PinsError> {
        remove_tree(&self.folder)?;
        // Other network namespaces may have theirs.
        if let Some(root) = self.folder.parent() {
            let _ = fs::remove_dir(root);
        }
        Ok(())
    }
}

/// Makes a folder that only root may look into.
pub(super) fn make(folder: &Path) -> Result<(), PinsError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| unusable(folder, source))
}

/// What is in a folder, in the order of names.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, PinsError> {
    let failed = |source| unusable(folder, source);
    let mut entries = fs::read_dir(folder)
        .map_err(failed)?
        .map(|entry| entry.map(|it| it.path()).map_err(failed))
        .collect::<Result<Vec<_>, _>>()?;
    entries.sort();
    Ok(entries)
}

/// Removes a folder, what is in it first.
pub(super) fn remove_tree(folder: &Path) -> Result<(), PinsError> {
    fs::remove_dir_all(folder).map_err(|source| unusable(folder, source))
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
