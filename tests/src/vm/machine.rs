//! Prepares a machine for the tests, and powers it off.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};

/// The folder of kernel modules; their file names sort in the order of their dependencies.
const MODULES: &str = "/modules";

/// File systems by type and place.
const MOUNTS: [(&str, &str); 5] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("bpf", "/sys/fs/bpf"),
    ("tmpfs", "/tmp"),
];

/// Mounts file systems and loads modules; returns the kernel's release.
pub(super) fn prepare() -> anyhow::Result<String> {
    for (kind, place) in MOUNTS {
        mount_one(kind, place)?;
    }
    for path in files(Path::new(MODULES))? {
        load(&path)?;
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("read osrelease")?;
    Ok(release.trim().to_owned())
}

fn mount_one(kind: &str, place: &str) -> anyhow::Result<()> {
    fs::create_dir_all(place).with_context(|| format!("create {place}"))?;
    match mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>) {
        // A kernel may mount its own /dev.
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("mount {place}")),
    }
}

fn load(path: &Path) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    match finit_module(&file, c"", ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("load {}", path.display())),
    }
}

/// Powers the machine off. The kernel flushes the console first.
pub(super) fn power_off() -> anyhow::Result<()> {
    match reboot(RebootMode::RB_POWER_OFF) {
        Ok(never) => match never {},
        Err(error) => Err(error).context("power off"),
    }
}

/// All files in a folder, by name.
pub(super) fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))?;
    let mut paths = entries.map(|it| Ok(it?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
