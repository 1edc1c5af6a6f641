//! The reconciler's thread.
//!
//! Plans, writes to tables and attachments happen here and nowhere else. Observers read what it
//! publishes ([`super::shared`]), so that a long plan delays no probe.

use std::cell::RefCell;
use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::main_loop::{Channels, drive};
use super::reconciler::Reconciler;
use super::shared::Shared;
use super::{drift, drop_log, flow_log, flows, hooks, trace};

/// The name of the thread, as in `/proc/PID/task/*/comm`.
const NAME: &str = "reconciler";
/// As much as the main thread usually has.
const STACK: usize = 8 << 20;

/// What other threads ask.
pub(super) struct Questions {
    pub(super) drops: mpsc::Receiver<drop_log::Question>,
    pub(super) live: mpsc::Receiver<trace::Wanted>,
}

/// Starts the thread; it runs until `stop` or an error, which the channel returns.
///
/// # Errors
/// The system has no room for a thread or for its event loop.
pub(super) fn start(
    reconciler: Reconciler,
    shared: Arc<Shared>,
    channels: Channels,
    questions: Questions,
    log: Option<flow_log::FlowLog>,
    stop: CancellationToken,
) -> anyhow::Result<oneshot::Receiver<anyhow::Result<()>>> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the reconciler's event loop")?;
    let (sender, ended) = oneshot::channel();
    let run = move || {
        let result = runtime.block_on(run(reconciler, &shared, channels, questions, log, stop));
        // A sweep of the flow tables may still run.
        runtime.shutdown_background();
        // Nobody waits for it any more.
        let _ = sender.send(result);
    };
    let builder = thread::Builder::new().name(NAME.to_owned()).stack_size(STACK);
    builder.spawn(run).context("cannot start the reconciler's thread")?;
    Ok(ended)
}

async fn run(
    reconciler: Reconciler,
    shared: &Shared,
    channels: Channels,
    questions: Questions,
    log: Option<flow_log::FlowLog>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let reconciler = RefCell::new(reconciler);
    tokio::select! {
        result = drive(&reconciler, shared, channels) => result,
        result = flows::keep(&reconciler, shared, log) => result,
        result = hooks::keep(&reconciler, shared) => result,
        result = drop_log::keep(&reconciler, questions.drops) => result,
        result = trace::keep(&reconciler, questions.live) => result,
        result = drift::keep(&reconciler, shared) => result,
        () = stop.cancelled() => Ok(()),
    }
}
