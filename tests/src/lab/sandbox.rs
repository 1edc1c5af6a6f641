//! Private mounts, so that nothing survives the lab.
//!
//! Named network namespaces are bind mounts, and pinned BPF objects live on a mounted file system:
//! both are created where only the lab's processes see them. The kernel removes them when the last
//! of these processes ends, for whatever reason.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::LabError;
use super::error::Context as _;

/// The directory in which `ip netns` looks for named namespaces.
pub(crate) const NETNS_DIR: &str = "/run/netns";

/// The lab's own directory, in memory and only inside the sandbox.
pub const LAB_DIR: &str = "/run/enforcer-lab";

/// An existing directory on which the new `/run` is mounted while it is filled.
const STAGING: &str = "/tmp";
const BPFFS: &str = "/sys/fs/bpf";

/// Proof that the entering thread, and all threads and processes started by it since, have their
/// own `/run` and BPF file system.
#[derive(Debug, Clone)]
pub struct Sandbox {
    _private: (),
}

impl Sandbox {
    /// Moves the calling thread into a new mount namespace. Call it before starting any thread that
    /// uses the lab, those of an asynchronous runtime included.
    ///
    /// # Errors
    /// A mount fails, mostly for lack of CAP_SYS_ADMIN.
    pub fn enter() -> Result<Self, LabError> {
        own_mounts(MsFlags::MS_PRIVATE)?;
        private_run()?;
        let sandbox = Self { _private: () };
        sandbox.fresh_bpffs()?;
        Ok(sandbox)
    }

    /// Replaces the private BPF file system by an empty one, which removes all pins. Does nothing
    /// on a host without `/sys/fs/bpf`.
    pub fn fresh_bpffs(&self) -> Result<(), LabError> {
        if Path::new(BPFFS).is_dir() { fresh_bpffs(Path::new(BPFFS)) } else { Ok(()) }
    }
}

/// Moves the calling thread into a new mount namespace. `propagation`: MS_PRIVATE, or MS_SLAVE to
/// still see later mounts of the old one.
pub(crate) fn own_mounts(propagation: MsFlags) -> Result<(), LabError> {
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | propagation, none))
        .context("enter a new mount namespace")
}

fn fresh_bpffs(path: &Path) -> Result<(), LabError> {
    // Nothing of the lab may be mounted there yet. A mount of the host's is only hidden, and only
    // in this namespace.
    let _ = umount2(path, MntFlags::MNT_DETACH);
    let none: Option<&str> = None;
    mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), none)
        .context(format!("mount a BPF file system on {}", path.display()))
}

/// Creates a directory with an empty BPF file system, in the sandbox's memory.
pub(crate) fn mount_bpf(path: &Path) -> Result<(), LabError> {
    if !is_inside() {
        return Err(LabError::NoSandbox);
    }
    fs::create_dir_all(path).context(path.display().to_string())?;
    fresh_bpffs(path)
}

/// Mounts that BPF file system in the usual place, for the calling process only.
pub(crate) fn use_bpf(path: &Path) -> Result<(), LabError> {
    if !Path::new(BPFFS).is_dir() {
        return Ok(());
    }
    own_mounts(MsFlags::MS_SLAVE)?;
    let none: Option<&str> = None;
    mount(Some(path), BPFFS, none, MsFlags::MS_BIND, none)
        .context(format!("mount {} on {BPFFS}", path.display()))
}

/// Whether the calling thread sees the sandbox's `/run`.
pub(crate) fn is_inside() -> bool {
    Path::new(LAB_DIR).join("sandbox").exists()
}

/// Covers `/run` by a copy in memory with all of the host's entries except `netns`. Directories
/// that the host lacks are so created without leaving them there.
fn private_run() -> Result<(), LabError> {
    let none: Option<&str> = None;
    mount(Some("tmpfs"), STAGING, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .context("mount a private /run")?;
    let entries = fs::read_dir("/run").context("read /run")?;
    for entry in entries.flatten() {
        show(&entry).context(format!("show {}", entry.path().display()))?;
    }
    mount(Some(STAGING), "/run", none, MsFlags::MS_MOVE, none)
        .context("move the private /run into place")?;
    for directory in [NETNS_DIR, LAB_DIR] {
        fs::create_dir_all(directory).context(directory)?;
    }
    // Shared, so that an agent sees namespaces created after its start, as on a real node through
    // mount propagation.
    mount(Some("tmpfs"), NETNS_DIR, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .and_then(|()| mount(none, NETNS_DIR, none, MsFlags::MS_SHARED, none))
        .context(NETNS_DIR)?;
    fs::write(Path::new(LAB_DIR).join("sandbox"), "").context(LAB_DIR)
}

/// Makes one entry of the host's `/run` visible in the copy. Entries that vanish meanwhile are
/// omitted.
fn show(entry: &fs::DirEntry) -> std::io::Result<()> {
    if ["netns", "enforcer-lab"].iter().any(|own| entry.file_name() == *own) {
        return Ok(());
    }
    let (from, to) = (entry.path(), Path::new(STAGING).join(entry.file_name()));
    let kind = entry.file_type()?;
    if kind.is_symlink() {
        return symlink(fs::read_link(&from)?, &to);
    }
    if kind.is_dir() {
        fs::create_dir(&to)?;
    } else {
        fs::write(&to, "")?;
    }
    let none: Option<&str> = None;
    match mount(Some(&from), &to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none) {
        Ok(()) | Err(nix::Error::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
