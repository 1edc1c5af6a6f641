//! The workspace's folders, and commands for cargo.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

/// The workspace's root folder.
///
/// # Errors
/// The sources of this binary no longer exist.
pub(crate) fn root() -> Result<PathBuf> {
    // cargo sets it for `cargo run`; the compiled-in value is for a binary that is started by hand.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = manifest.parent().map(Path::to_path_buf).unwrap_or_default();
    if !root.join("enforcer-ebpf/Cargo.toml").is_file() {
        bail!("{} isn't this project's folder: use `cargo xtask`", root.display());
    }
    Ok(root)
}

/// Cargo's target folder for the workspace's own binaries.
pub(crate) fn target(root: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR").filter(|path| !path.is_empty()) {
        Some(path) => root.join(path),
        None => root.join("target"),
    }
}

/// Cargo's name for the folder and the flag of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// `target/debug`
    Dev,
    /// `target/release`
    Release,
}

impl Profile {
    /// The profile for the flag `--release`.
    pub(crate) fn of(release: bool) -> Self {
        if release { Self::Release } else { Self::Dev }
    }

    /// The folder below the target folder.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// A command for the cargo that started this task, in the workspace. A proxy could choose another.
pub(crate) fn cargo(root: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(root);
    // The variables of `cargo run` describe this process's own package, not the next build.
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PKG_") || name_text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}
