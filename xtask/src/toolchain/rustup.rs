//! The pinned release, as rustup has it or gets it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::compiler::Toolchain;
use crate::process;
use crate::ui::Step;

/// The workspace's own release (`rust-toolchain.toml`).
pub(super) const RELEASE: &str = "1.95.0";

/// rustup has its own time-outs for a silent server; this one is for everything else.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// The pinned release with its sources, if rustup has it.
///
/// # Errors
/// rustup is missing, or lacks the release or its sources.
pub(super) fn existing() -> Result<Toolchain> {
    process::which("rustup").context("rustup is not on PATH")?;
    let mut command = Command::new("rustup");
    command.args(["run", RELEASE, "rustc", "--print", "sysroot"]);
    let folder = process::output_of(&mut command)?;
    Toolchain::in_folder(Path::new(folder.trim()), RELEASE, "rustup's Rust")
}

/// Has rustup add `rust-src` to the pinned release, and install the release if it is missing.
///
/// # Errors
/// rustup is missing or fails, without a network for example.
pub(super) fn install() -> Result<Toolchain> {
    process::which("rustup").context("rustup is not on PATH")?;
    let mut command = Command::new("rustup");
    command.args(["toolchain", "install", RELEASE, "--profile", "minimal"]);
    command.args(["--component", "rust-src", "--no-self-update"]);
    // One retry is enough, since Debian's packages come next.
    command.env("RUSTUP_MAX_RETRIES", "1").env("RUST_BACKTRACE", "0");
    let step = Step::start(format!("rustup: adding rust-src to Rust {RELEASE}"));
    if let Err(error) = process::run_limited(&mut command, &step, Some(LIMIT)) {
        step.skipped("rustup failed");
        return Err(error);
    }
    step.done("");
    existing()
}
