//! A compiler that can build `core` for the bpf target.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// The LLVM that the linker was built for. The compiler must use the same: the object goes from
/// one to the other as LLVM bitcode.
const LLVM: &str = "22.";

/// The sources that `-Z build-std=core` needs, below a toolchain's folder.
const CORE_SOURCES: &str = "lib/rustlib/src/rust/library/core/src/lib.rs";

/// A compiler that can build `core` for the bpf target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    /// The compiler itself, not a proxy.
    pub(crate) rustc: PathBuf,
    /// The folder of the LLVM library that the compiler and the linker load.
    pub(crate) libraries: PathBuf,
    /// Its source, for people.
    pub(crate) origin: String,
}

impl Toolchain {
    /// The toolchain in a folder that has `bin` and `lib`, if its compiler has this release. The
    /// output of another one has not been tested: it may miscompile for this rare target without
    /// any error.
    pub(super) fn in_folder(folder: &Path, release: &str, origin: &str) -> Result<Self> {
        let sources = folder.join(CORE_SOURCES);
        if !sources.is_file() {
            bail!("{} is missing", sources.display());
        }
        let toolchain = Self {
            rustc: folder.join("bin/rustc"),
            libraries: libraries(&folder.join("lib"))?,
            origin: format!("{origin} {release}"),
        };
        let mut command = Command::new(&toolchain.rustc);
        let version = process::output_of(toolchain.apply(&mut command).arg("-vV"))?;
        if !fits(&version, release) {
            bail!("{} isn't Rust {release} with LLVM {LLVM}x", toolchain.rustc.display());
        }
        Ok(toolchain)
    }

    /// Makes `command` (cargo, rustc or bpf-linker) work with this toolchain.
    pub(crate) fn apply<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("RUSTC", &self.rustc)
            // Lets a stable compiler build its own `core`.
            .env("RUSTC_BOOTSTRAP", "1")
            // Replaced, not extended: bpf-linker loads the first LLVM library in this path, and
            // cargo has added the host toolchain's folder to it.
            .env("LD_LIBRARY_PATH", &self.libraries)
            .env_remove("RUSTC_WRAPPER")
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
    }
}

/// Whether the output of `rustc -vV` is that of this release with the linker's LLVM.
fn fits(version: &str, release: &str) -> bool {
    let field =
        |name: &str| version.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    field("release:") == Some(release)
        && field("LLVM version:").is_some_and(|it| it.starts_with(LLVM))
}

/// The folder of the LLVM library: `lib`, or Debian's `lib/x86_64-linux-gnu`.
fn libraries(lib: &Path) -> Result<PathBuf> {
    let names = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let below = names(lib).map(|it| it.path()).filter(|it| it.is_dir());
    std::iter::once(lib.to_path_buf())
        .chain(below)
        .find(|it| names(it).any(|it| it.file_name().to_string_lossy().starts_with("libLLVM")))
        .with_context(|| format!("there is no LLVM library below {}", lib.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_release_with_the_linkers_llvm_fits() {
        let fits = |release: &str, llvm: &str| {
            fits(&format!("rustc x\nrelease: {release}\nLLVM version: {llvm}\n"), "1.95.0")
        };
        assert!(fits("1.95.0", "22.1.2"));
        assert!(!fits("1.95.0", "21.1.0"), "another LLVM");
        assert!(!fits("1.97.0", "22.1.8"), "another release");
        assert!(!fits("1.95.0-nightly", "22.1.8"), "not the release of that number");
        assert!(!super::fits("rustc 1.95.0", "1.95.0"));
    }

    #[test]
    fn the_toolchains_own_libraries_replace_the_inherited_path() {
        let toolchain = Toolchain {
            rustc: "/t/bin/rustc".into(),
            libraries: "/t/lib".into(),
            origin: String::new(),
        };
        let mut command = Command::new("cargo");
        command.env("LD_LIBRARY_PATH", "/other");
        toolchain.apply(&mut command);
        let path = command.get_envs().find(|(name, _)| *name == "LD_LIBRARY_PATH");
        assert_eq!(path.and_then(|(_, value)| value), Some("/t/lib".as_ref()));
    }
}
