//! Compilers that rustup has, or can get.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::Toolchain;
use super::version::{Compiler, PINNED};
use crate::process;
use crate::ui::Step;

/// The sources that `-Z build-std=core` needs, below a toolchain's folder.
pub(crate) const CORE_SOURCES: &str = "lib/rustlib/src/rust/library/core/src/lib.rs";

/// rustup has its own time-outs for a server that is silent; this one is for all else.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// An installed toolchain of a tested release that has `rust-src`, the pinned release first.
pub(crate) fn existing() -> Option<Toolchain> {
    let mut found: Vec<_> =
        installed().into_iter().filter(|item| has_sources(&item.folder)).collect();
    found.sort_by_key(|item| !item.is_pinned());
    found.iter().find_map(Installed::toolchain)
}

/// Has rustup add `rust-src` to the pinned release, and the release too where it is missing.
///
/// # Errors
/// When there is no rustup, or it fails (no network, say).
pub(crate) fn install() -> Result<Toolchain> {
    process::which("rustup").context("there is no rustup on PATH")?;
    let pinned = PINNED.to_string();
    let mut command = Command::new("rustup");
    if installed().iter().any(Installed::is_pinned) {
        command.args(["component", "add", "rust-src", "--toolchain", &pinned]);
    } else {
        command.args(["toolchain", "install", &pinned, "--profile", "minimal"]);
        command.args(["--component", "rust-src", "--no-self-update"]);
    }
    // With the next way at hand, one more try is patience enough; a backtrace helps nobody.
    command.env("RUSTUP_MAX_RETRIES", "1").env("RUST_BACKTRACE", "0");
    let step = Step::start(format!("rustup: adding rust-src to Rust {pinned}"));
    match process::run_limited(&mut command, &step, Some(LIMIT)) {
        Ok(_) => step.done(""),
        Err(error) => {
            step.skipped("rustup could not get it");
            return Err(short(&error));
        }
    }
    existing().with_context(|| {
        format!("rustup said that it added rust-src to {pinned}, but no such toolchain is there")
    })
}

/// rustup's own reason, without what led to it.
fn short(error: &anyhow::Error) -> anyhow::Error {
    let text = format!("{error:#}");
    let reason = text.lines().map(str::trim).find(|line| line.starts_with("error:"));
    match (text.lines().next(), reason) {
        (Some(first), Some(reason)) => anyhow!("{first}: {reason}"),
        _ => anyhow!(text),
    }
}

/// A line of `rustup toolchain list -v`.
#[derive(Debug, PartialEq, Eq)]
struct Installed {
    name: String,
    folder: PathBuf,
}

impl Installed {
    fn is_pinned(&self) -> bool {
        let pinned = PINNED.to_string();
        // The name goes on with the host's triple: `1.95.0-x86_64-unknown-linux-gnu`.
        self.name.strip_prefix(&pinned).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    fn toolchain(&self) -> Option<Toolchain> {
        let rustc = self.folder.join("bin/rustc");
        let libraries = self.folder.join("lib");
        let mut question = Command::new(&rustc);
        // A linked toolchain may not know where its own libraries are.
        question.arg("-vV").env("LD_LIBRARY_PATH", &libraries);
        let said = process::output_of(&mut question).ok()?;
        Compiler::parse(&said).filter(|compiler| compiler.fits())?;
        if !has_llvm(&libraries) {
            return None;
        }
        Some(Toolchain { rustc, libraries, origin: format!("rustup's toolchain {}", self.name) })
    }
}

fn has_sources(folder: &Path) -> bool {
    folder.join(CORE_SOURCES).is_file()
}

/// Whether bpf-linker will find an LLVM library in this folder: it looks for the name.
pub(crate) fn has_llvm(libraries: &Path) -> bool {
    let Ok(entries) = fs::read_dir(libraries) else { return false };
    entries
        .filter_map(Result::ok)
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libLLVM"))
}

fn installed() -> Vec<Installed> {
    if process::which("rustup").is_none() {
        return Vec::new();
    }
    let list = process::output_of(Command::new("rustup").args(["toolchain", "list", "-v"]));
    list.map(|text| parse_list(&text)).unwrap_or_default()
}

/// Reads `rustup toolchain list -v`: a name, perhaps `(active, default)`, and a folder, which may
/// contain spaces.
fn parse_list(text: &str) -> Vec<Installed> {
    let parse = |line: &str| {
        let name = line.split_whitespace().next()?.to_owned();
        let folder = line.find('/').and_then(|start| line.get(start..))?.trim_end();
        Some(Installed { name, folder: PathBuf::from(folder) })
    };
    text.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_lists_are_read() {
        let text = "stable-x86_64-unknown-linux-gnu (default)\t/home/a b/.rustup/toolchains/stable\n\
                    1.95.0-x86_64-unknown-linux-gnu (active) /r/toolchains/1.95.0\n\
                    mine /opt/mine\n\n";
        let list = parse_list(text);
        let names: Vec<_> = list.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(
            names,
            ["stable-x86_64-unknown-linux-gnu", "1.95.0-x86_64-unknown-linux-gnu", "mine"]
        );
        assert_eq!(list[0].folder, PathBuf::from("/home/a b/.rustup/toolchains/stable"));
        assert_eq!(list[2].folder, PathBuf::from("/opt/mine"));
    }

    #[test]
    fn no_toolchain_at_all_is_an_empty_list() {
        assert_eq!(parse_list("no installed toolchains\n"), Vec::new());
    }

    #[test]
    fn the_pinned_release_is_known_by_its_whole_name() {
        let named = |name: &str| Installed { name: name.to_owned(), folder: PathBuf::new() };
        assert!(named("1.95.0-x86_64-unknown-linux-gnu").is_pinned());
        assert!(named("1.95.0").is_pinned());
        assert!(!named("1.95.01-x86_64").is_pinned());
        assert!(!named("stable-x86_64-unknown-linux-gnu").is_pinned());
    }

    #[test]
    fn rustups_reason_is_kept_and_its_chatter_dropped() {
        let error = anyhow!(
            "`rustup x` failed (exit status: 1)\n    info: downloading\n    error: no route"
        );
        assert_eq!(
            short(&error).to_string(),
            "`rustup x` failed (exit status: 1): error: no route"
        );
    }
}
