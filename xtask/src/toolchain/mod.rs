//! The compiler and linker for the bpf target.
//!
//! The target has no ready-made standard library, so `core` is built from its sources: the
//! compiler must come with `rust-src`. rustup adds it to the pinned release; where rustup is
//! missing or can't reach its server, Debian's packages serve ([`debian`]).

mod debian;
pub(crate) mod linker;
mod rustup;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::ui;

/// The releases whose output has been tested: rustup's and Debian's. Another release may miscompile
/// for this rare target without any error, so it is never used.
const TESTED: [&str; 2] = [rustup::RELEASE, debian::RELEASE];

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
    /// The toolchain in a folder that has `bin` and `lib`, after a test run of its compiler.
    fn in_folder(folder: &Path, origin: &str) -> Result<Self> {
        let sources = folder.join(CORE_SOURCES);
        if !sources.is_file() {
            bail!("{} is missing", sources.display());
        }
        let toolchain = Self {
            rustc: folder.join("bin/rustc"),
            libraries: libraries(&folder.join("lib"))?,
            origin: origin.to_owned(),
        };
        let mut command = Command::new(&toolchain.rustc);
        let version = process::output_of(toolchain.apply(&mut command).arg("-vV"))?;
        if !is_tested(&version) {
            bail!("{} isn't a tested release:\n{version}", toolchain.rustc.display());
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

/// Finds or installs the toolchain.
///
/// # Errors
/// Neither rustup nor Debian provides one; the message has the command to install it.
pub(crate) fn obtain() -> Result<Toolchain> {
    // An unpacked toolchain is as good as one that rustup would have to download.
    if let Ok(toolchain) = rustup::existing().or_else(|_| debian::existing()) {
        return Ok(toolchain);
    }
    ui::say("  no compiler for the bpf target yet: it needs the sources of Rust's core library");
    rustup::install()
        .or_else(|by_rustup| debian::install().map_err(|by_debian| by_hand(&by_rustup, &by_debian)))
}

fn by_hand(by_rustup: &anyhow::Error, by_debian: &anyhow::Error) -> anyhow::Error {
    anyhow::anyhow!(
        "can't install a compiler for the bpf target\n\
         \n  by rustup: {by_rustup:#}\
         \n  from Debian's packages: {by_debian:#}\n\
         \ninstall it by hand and run this again:\
         \n  rustup toolchain install {} --profile minimal --component rust-src\
         \n  (rustup itself: https://rustup.rs)",
        rustup::RELEASE
    )
}

/// Whether the output of `rustc -vV` is that of a tested release with the linker's LLVM.
fn is_tested(version: &str) -> bool {
    let field =
        |name: &str| version.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    field("release:").is_some_and(|it| TESTED.contains(&it))
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
    fn the_message_has_both_reasons_and_the_command() {
        let text = by_hand(&anyhow::anyhow!("no rustup"), &anyhow::anyhow!("not a Debian"));
        let text = text.to_string();
        assert!(text.contains("no rustup") && text.contains("not a Debian"), "{text}");
        assert!(text.contains("--component rust-src"), "{text}");
    }

    #[test]
    fn only_a_tested_release_with_the_linkers_llvm_fits() {
        let fits = |release: &str, llvm: &str| {
            is_tested(&format!("rustc x\nrelease: {release}\nLLVM version: {llvm}\n"))
        };
        assert!(fits("1.95.0", "22.1.2"));
        assert!(fits("1.96.0", "22.1.8"));
        assert!(!fits("1.95.0", "21.1.0"), "another LLVM");
        assert!(!fits("1.97.0", "22.1.8"), "not tested");
        assert!(!fits("1.96.0-nightly", "22.1.8"), "not the release of that number");
        assert!(!is_tested("rustc 1.95.0"));
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
