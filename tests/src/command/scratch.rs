//! The directory of manifests that the user may edit.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};

use anyhow::Context;

use crate::host::replace_file;
use crate::lab::LAB_DIR;

/// The hidden subcommand that removes the directory when the lab has ended.
pub(crate) const SWEEP_COMMAND: &str = "__sweep";

/// A directory that is removed with the lab.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    sweeper: Option<(Child, ChildStdin)>,
}

impl Scratch {
    /// A directory inside the sandbox, in memory: the kernel removes it.
    pub(crate) fn hidden() -> anyhow::Result<Self> {
        let path = Path::new(LAB_DIR).join("manifests");
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { path, sweeper: None })
    }

    /// A temporary directory owned by the user who called `sudo`. A second process removes it when
    /// this one ends, even by SIGKILL.
    pub(crate) fn editable(program: &Path) -> anyhow::Result<Self> {
        let path = tempfile::Builder::new().prefix("enforcer-lab-").tempdir()?.keep();
        let mut sweeper = Command::new(program);
        sweeper.arg(SWEEP_COMMAND).arg(&path).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = sweeper.spawn().context("start the sweeper")?;
        let alive = child.stdin.take().context("the sweeper's pipe")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        give_to_caller(&path)?;
        Ok(Self { path, sweeper: Some((child, alive)) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file atomically.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path.join(name);
        replace_file(&path, text)
            .and_then(|()| give_to_caller(&path))
            .with_context(|| format!("write {}", path.display()))
    }

    pub(crate) fn clear(&self) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            fs::remove_file(entry?.path())?;
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some((mut child, alive)) = self.sweeper.take() {
            drop(alive);
            let _ = child.wait();
        }
    }
}

fn give_to_caller(path: &Path) -> io::Result<()> {
    let id = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match id("SUDO_UID") {
        Some(user) => chown(path, Some(user), id("SUDO_GID")),
        None => Ok(()),
    }
}

/// Waits for the end of standard input, then removes the directory.
pub(crate) fn sweep(directory: &Path) -> anyhow::Result<ExitCode> {
    // Ctrl-C goes to the whole foreground process group, but the lab may still use the directory.
    nix::unistd::setsid().context("leave the terminal")?;
    let _ = io::stdin().read_to_end(&mut Vec::new());
    fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))?;
    Ok(ExitCode::SUCCESS)
}
