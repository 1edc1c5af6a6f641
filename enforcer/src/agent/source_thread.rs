//! The thread of the cluster's source.
//!
//! An event of a watch passes several tasks: that of the connection, of the watch, and of the kinds
//! together. In a thread of their own they wake each other without a system call, and the thread can
//! sleep while events gather in its sockets ([`super::wakeups`]).

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::runtime;
use tokio::sync::oneshot;

use super::source::Watch;
use super::wakeups::Wakeups;
use crate::source::kubernetes::Watches;

/// The name of the thread, as in `/proc/PID/task/*/comm`.
const NAME: &str = "source";

/// Starts the thread, which ends with the source or with the process. The channel returns the source's
/// error.
///
/// # Errors
/// The system has no room for a thread or for its event loop.
pub(super) fn start(
    source: Watch,
    watches: Option<Arc<Watches>>,
) -> anyhow::Result<oneshot::Receiver<anyhow::Result<()>>> {
    let mut runtime = runtime::Builder::new_current_thread();
    runtime.enable_all();
    if let Some(watches) = watches {
        let wakeups = Mutex::new(Wakeups::default());
        runtime.on_thread_park(move || pause(&watches, &wakeups));
    }
    let runtime = runtime.build().context("cannot start the source's event loop")?;
    let (sender, ended) = oneshot::channel();
    let run = move || {
        let result = runtime.block_on(source);
        // Nobody waits for it any more.
        let _ = sender.send(result);
    };
    let builder = thread::Builder::new().name(NAME.to_owned());
    builder.spawn(run).context("cannot start the source's thread")?;
    Ok(ended)
}

/// Sleeps before the thread waits for events, if it wakes up often. Lists are received as fast as they
/// come.
fn pause(watches: &Watches, wakeups: &Mutex<Wakeups>) {
    let pause = wakeups.lock().unwrap_or_else(PoisonError::into_inner).idle(Instant::now());
    if pause > Duration::ZERO && watches.are_listed() {
        thread::sleep(pause);
    }
}
