//! The compiler and linker for the bpf target.
//!
//! The target has no ready-made standard library, so `core` is built from its sources: the
//! compiler must come with `rust-src`. Three ways lead to such a compiler, tried in this order:
//!
//! 1. a rustup toolchain of a tested release that has `rust-src` already;
//! 2. `rustup`, asked to add `rust-src` to the pinned release;
//! 3. Debian's packages, unpacked in the user's cache folder ([`debian`]).

pub(crate) mod debian;
mod debian_pins;
pub(crate) mod linker;
pub(crate) mod lock;
pub(crate) mod rustup;
mod version;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

pub(crate) use version::{LLVM_MAJOR, PINNED, Version};

use crate::ui;

/// A compiler that can build `core` for the bpf target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    /// The compiler itself, not a proxy.
    pub(crate) rustc: PathBuf,
    /// The folder of the LLVM library that the compiler uses, and the linker after it.
    pub(crate) libraries: PathBuf,
    /// Where it comes from, in words.
    pub(crate) origin: String,
}

impl Toolchain {
    /// Makes `command` (cargo, rustc or bpf-linker) work with this toolchain.
    pub(crate) fn apply<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("RUSTC", &self.rustc)
            // A stable compiler builds its own `core` only when told that it may.
            .env("RUSTC_BOOTSTRAP", "1")
            // Replaced, not extended: bpf-linker loads the first LLVM library it finds along this
            // path, and cargo has put the host toolchain's folder on it.
            .env("LD_LIBRARY_PATH", &self.libraries)
            .env_remove("RUSTC_WRAPPER")
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
    }
}

/// Finds or installs the toolchain.
///
/// # Errors
/// When no way works; the message says what to install by hand.
pub(crate) fn obtain() -> Result<Toolchain> {
    if let Some(toolchain) = rustup::existing() {
        return Ok(toolchain);
    }
    // An unpacked toolchain is there at once, and as good as what rustup would have to download.
    if let Some(toolchain) = debian::existing()? {
        return Ok(toolchain);
    }
    ui::say("  No compiler for the bpf target yet (it needs the sources of Rust's core library).");
    let by_rustup = match rustup::install() {
        Ok(toolchain) => return Ok(toolchain),
        Err(error) => error,
    };
    match debian::install() {
        Ok(toolchain) => Ok(toolchain),
        Err(by_debian) => bail!(by_hand(&by_rustup, &by_debian)),
    }
}

fn by_hand(by_rustup: &anyhow::Error, by_debian: &anyhow::Error) -> String {
    format!(
        "there is no compiler for the bpf target, and none could be installed\n\
         \n  rustup's way: {by_rustup:#}\
         \n  Debian's way: {by_debian:#}\n\
         \nInstall by hand, then run this again:\
         \n  rustup toolchain install {PINNED} --profile minimal --component rust-src\
         \n  (rustup itself: https://rustup.rs)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_gives_both_reasons_and_the_command() {
        let text = by_hand(&anyhow::anyhow!("no rustup"), &anyhow::anyhow!("not a Debian"));
        assert!(text.contains("no rustup") && text.contains("not a Debian"), "{text}");
        assert!(text.contains("--component rust-src"), "{text}");
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
