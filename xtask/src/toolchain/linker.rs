//! bpf-linker: links the programs' LLVM bitcode into one BPF object.
//!
//! Built from crates.io with its default features it contains no LLVM: when run, it loads the
//! first `libLLVM*` along `LD_LIBRARY_PATH`, so one binary serves every compiler whose LLVM has
//! the major version it was written for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{LLVM_MAJOR, Version, lock};
use crate::process;
use crate::ui::Step;
use crate::workspace;

/// The last release that works without a complete LLVM installation.
const WANTED: Version = Version::new(0, 10, 3);

/// A working bpf-linker: the one on `PATH` if it fits, else the cached one, else a new one.
///
/// # Errors
/// When it can't be built; the message says how to install it by hand.
pub(crate) fn obtain(root: &Path) -> Result<PathBuf> {
    if let Some(path) = process::which("bpf-linker").filter(|path| fits(path)) {
        return Ok(path);
    }
    let cache = workspace::cache()?;
    let folder = cache.join(format!("bpf-linker/{WANTED}"));
    let linker = folder.join("bin/bpf-linker");
    if fits(&linker) {
        return Ok(linker);
    }
    let _lock = lock::take(&cache)?;
    if !fits(&linker) {
        build(root, &folder).with_context(|| {
            format!(
                "bpf-linker {WANTED} could not be built; by hand: \
                 cargo install bpf-linker --version {WANTED} --locked"
            )
        })?;
    }
    Ok(linker)
}

fn build(root: &Path, folder: &Path) -> Result<()> {
    let step = Step::start(format!("building bpf-linker {WANTED} (once, about a minute)"));
    let partial = folder.with_file_name(format!("{WANTED}.partial"));
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial).with_context(|| format!("can't make {}", partial.display()))?;
    let mut command = workspace::cargo(root);
    command.args(["install", "bpf-linker", "--version", &WANTED.to_string(), "--locked"]);
    command.arg("--root").arg(&partial);
    // Outside the workspace: its settings are none of this program's.
    command.current_dir(&partial);
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    command.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_BUILD_TARGET");
    process::run_quietly(&mut command, &step)?;
    let _ = fs::remove_dir_all(folder);
    fs::rename(&partial, folder)
        .with_context(|| format!("can't move the linker to {}", folder.display()))?;
    step.done("");
    Ok(())
}

/// Whether the program at `path` is a bpf-linker of a fitting version.
fn fits(path: &Path) -> bool {
    path.is_file()
        && process::output_of(Command::new(path).arg("--version"))
            .is_ok_and(|said| version_fits(&said))
}

fn version_fits(said: &str) -> bool {
    // Releases of one minor version share the LLVM they were written for.
    debug_assert_eq!(LLVM_MAJOR, 22, "another LLVM wants another bpf-linker");
    said.split_whitespace()
        .nth(1)
        .and_then(|word| word.parse::<Version>().ok())
        .is_some_and(|version| version.is_compatible_with(WANTED))
}

#[cfg(test)]
mod tests {
    use super::version_fits;

    #[test]
    fn only_releases_for_the_same_llvm_fit() {
        assert!(version_fits("bpf-linker 0.10.3\n"));
        assert!(version_fits("bpf-linker 0.10.4"));
        assert!(!version_fits("bpf-linker 0.9.15"), "LLVM 21 and older");
        assert!(!version_fits("bpf-linker 0.11.0"), "wants a complete LLVM");
        assert!(!version_fits("something else"));
        assert!(!version_fits(""));
    }
}
