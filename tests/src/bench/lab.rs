//! A lab and the agent for a measurement.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;

use crate::host::sibling;
use crate::lab::{LAB_DIR, Sandbox};
use crate::session::SessionOptions;

/// Runs a measurement in a sandbox, on a thread and a runtime of its own.
pub(super) fn in_sandbox<T: Send>(
    measure: impl AsyncFnOnce(&Sandbox) -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    let inside = || {
        // Before the runtime starts its threads, which inherit the mounts of this one.
        let sandbox = Sandbox::enter().context("the lab needs root")?;
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build()?;
        runtime.block_on(measure(&sandbox))
    };
    let done = std::thread::scope(|scope| scope.spawn(inside).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// An empty directory of manifests, and options for a session with the agent beside this program.
pub(super) fn options() -> anyhow::Result<(PathBuf, SessionOptions)> {
    let directory = Path::new(LAB_DIR).join("manifests");
    fs::create_dir_all(&directory)?;
    let (lab, agent) = (sibling("enforcer-lab")?, sibling("enforcer")?);
    Ok((directory.clone(), SessionOptions::new(directory, lab, Some(agent))))
}

/// The lines of an agent's log in JSON.
pub(super) fn lines(log: &str) -> impl Iterator<Item = Value> {
    log.lines().filter_map(|line| serde_json::from_str(line).ok())
}
