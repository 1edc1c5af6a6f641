//! A private view of the mounts, so that nothing the lab makes can outlive it.
//!
//! Named network namespaces are bind mounts, pinned BPF objects live on a mounted file system:
//! both are made where only the lab's own processes see them. When the last of these ends,
//! however it ends, the kernel takes everything down.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::LabError;

/// Where `ip netns` looks for named namespaces.
pub(crate) const NETNS_DIR: &str = "/run/netns";

/// The lab's own directory. It is in memory and exists inside the sandbox only.
pub const LAB_DIR: &str = "/run/enforcer-lab";

/// An existing directory that the new `/run` covers for a moment while it is being filled.
const STAGING: &str = "/tmp";
const BPFFS: &str = "/sys/fs/bpf";

/// Proof that the thread that entered, and every thread and process that it started since, has
/// its own `/run` and its own BPF file system.
#[derive(Debug, Clone)]
pub struct Sandbox {
    _private: (),
}

impl Sandbox {
    /// Moves the calling thread into a new mount namespace. Call it before any thread that is to
    /// use the lab is started (an asynchronous runtime's included).
    ///
    /// # Errors
    /// When a mount is refused, mostly for want of CAP_SYS_ADMIN.
    pub fn enter() -> Result<Self, LabError> {
        unshare(CloneFlags::CLONE_NEWNS).map_err(|e| LabError::io("unshare the mounts", e))?;
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
            .map_err(|e| LabError::io("make the mounts private", e))?;
        private_run()?;
        let sandbox = Self { _private: () };
        sandbox.fresh_bpffs()?;
        Ok(sandbox)
    }

    /// Replaces the private BPF file system by an empty one: what was pinned is gone. A host
    /// without `/sys/fs/bpf` gets none.
    ///
    /// # Errors
    /// When the mount is refused.
    pub fn fresh_bpffs(&self) -> Result<(), LabError> {
        if !Path::new(BPFFS).is_dir() {
            return Ok(());
        }
        // The first time there may be nothing of ours to take away; the host's own mount, seen
        // through this namespace, is only uncovered or hidden here, never for the host.
        let _ = umount2(BPFFS, MntFlags::MNT_DETACH);
        let none: Option<&str> = None;
        mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), none)
            .map_err(|e| LabError::io("mount a private BPF file system", e))
    }
}

/// Makes a directory with an empty BPF file system, in the sandbox's memory.
pub(crate) fn mount_bpf(path: &Path) -> Result<(), LabError> {
    if !is_inside() {
        return Err(LabError::NoSandbox);
    }
    // There may be an earlier lab's.
    let _ = umount2(path, MntFlags::MNT_DETACH);
    fs::create_dir_all(path).map_err(|e| LabError::io(path.display().to_string(), e))?;
    let none: Option<&str> = None;
    mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), none)
        .map_err(|e| LabError::io("mount another BPF file system", e))
}

/// Shows the calling process that BPF file system in the usual place.
pub(crate) fn use_bpf(path: &Path) -> Result<(), LabError> {
    if !Path::new(BPFFS).is_dir() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS).map_err(|e| LabError::io("unshare the mounts", e))?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)
        .map_err(|e| LabError::io("make the mounts one's own", e))?;
    mount(Some(path), BPFFS, none, MsFlags::MS_BIND, none)
        .map_err(|e| LabError::io("show another BPF file system", e))
}

/// Whether the calling thread sees the sandbox's `/run`.
pub(crate) fn is_inside() -> bool {
    Path::new(LAB_DIR).join("sandbox").exists()
}

/// Covers `/run` by one in memory that shows the host's entries but for `netns`: a directory that
/// the host lacks could otherwise not be had without leaving it there.
fn private_run() -> Result<(), LabError> {
    let none: Option<&str> = None;
    mount(Some("tmpfs"), STAGING, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .map_err(|e| LabError::io("mount a private /run", e))?;
    let entries = fs::read_dir("/run").map_err(|e| LabError::io("read /run", e))?;
    for entry in entries.flatten() {
        show(&entry).map_err(|e| LabError::io(format!("show {}", entry.path().display()), e))?;
    }
    mount(Some(STAGING), "/run", none, MsFlags::MS_MOVE, none)
        .map_err(|e| LabError::io("move the private /run into place", e))?;
    for directory in [NETNS_DIR, LAB_DIR] {
        fs::create_dir_all(directory).map_err(|e| LabError::io(directory, e))?;
    }
    // Shared, so that an agent sees the namespaces that are made after its start, as it does on a
    // node by mount propagation.
    mount(Some("tmpfs"), NETNS_DIR, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .and_then(|()| mount(none, NETNS_DIR, none, MsFlags::MS_SHARED, none))
        .map_err(|e| LabError::io(NETNS_DIR, e))?;
    fs::write(Path::new(LAB_DIR).join("sandbox"), "").map_err(|e| LabError::io(LAB_DIR, e))
}

/// Makes one entry of the host's `/run` visible in the staged one. Entries that vanish meanwhile
/// are left out.
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
