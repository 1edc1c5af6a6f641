//! bpf-linker: links the programs' LLVM bitcode into one BPF object.
//!
//! Built from crates.io with its default features it contains no LLVM: it loads the first
//! `libLLVM*` in `LD_LIBRARY_PATH`, so one binary serves every compiler whose LLVM has the major
//! version that it was written for.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::ui::Step;
use crate::version::{self, Version};
use crate::{cache, process, workspace};

/// The last release that works without a complete LLVM installation, and its version.
const WANTED: &str = "0.10.3";
const VERSION: Version = [0, 10, 3];

/// A working bpf-linker: the one on `PATH` if it fits, else the one in the cache folder.
///
/// # Errors
/// It can't be built; the message has the command to install it.
pub(crate) fn obtain(root: &Path) -> Result<PathBuf> {
    if let Some(path) = process::which("bpf-linker").filter(|path| fits(path)) {
        return Ok(path);
    }
    let program = |folder: &Path| folder.join("bin/bpf-linker");
    let is_good = |folder: &Path| fits(&program(folder));
    let folder = cache::folder_if(&format!("bpf-linker/{WANTED}"), is_good, |folder| {
        build(root, folder).with_context(|| {
            format!("can't build bpf-linker; by hand: cargo install bpf-linker@{WANTED} --locked")
        })
    })?;
    Ok(program(&folder))
}

fn build(root: &Path, folder: &Path) -> Result<()> {
    let step = Step::start(format!("building bpf-linker {WANTED} (once, about half a minute)"));
    let mut command = workspace::cargo(root);
    command.args(["install", "bpf-linker", "--version", WANTED, "--locked", "--root"]).arg(folder);
    // Not optimised, which takes a third of the time: almost all of its work is LLVM's.
    command.arg("--debug").env("CARGO_PROFILE_DEV_DEBUG", "0");
    // Outside the workspace, whose settings are not for this program.
    command.current_dir(folder);
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    command.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_BUILD_TARGET");
    process::run_quietly(&mut command, &step)?;
    step.done("");
    Ok(())
}

fn fits(path: &Path) -> bool {
    path.is_file()
        && process::output_of(Command::new(path).arg("--version")).is_ok_and(|it| version_fits(&it))
}

/// Whether the output of `bpf-linker --version` is that of a release for the same LLVM: those of
/// one minor version share it.
fn version_fits(output: &str) -> bool {
    let found = output.split_whitespace().nth(1).and_then(version::parse);
    found.is_some_and(|found| found >= VERSION && found[..2] == VERSION[..2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_releases_for_the_same_llvm_fit() {
        assert_eq!(version::parse(WANTED), Some(VERSION));
        assert!(version_fits("bpf-linker 0.10.3\n"));
        assert!(version_fits("bpf-linker 0.10.4"));
        assert!(!version_fits("bpf-linker 0.9.15"), "LLVM 21 and older");
        assert!(!version_fits("bpf-linker 0.11.0"), "wants a complete LLVM");
        assert!(!version_fits("something else"));
        assert!(!version_fits(""));
    }
}
