//! The continuous verification of hooks (semantics C7).

use std::cell::RefCell;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{MissedTickBehavior, interval};

use super::reconciler::Reconciler;
use super::shared::Shared;
use crate::kernel::{HookEvents, Scope};

/// The time between two verifications of links, and between two attempts: half of what a missing
/// program may take to be restored.
const INTERVAL: Duration = Duration::from_millis(400);
/// After this many intervals all hooks are verified, though the kernel sends notifications.
const ALL_AFTER: u32 = 12;

/// Verifies hooks at each notification and periodically, and restores them.
pub(super) async fn keep(reconciler: &RefCell<Reconciler>, shared: &Shared) -> anyhow::Result<()> {
    let mut events = HookEvents::open().context("cannot subscribe to notifications about hooks")?;
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut passes = 0;
    loop {
        let scope = tokio::select! {
            changed = events.changed() => {
                changed.context("cannot receive notifications about hooks")?
            }
            _ = ticks.tick() => {
                passes = (passes + 1) % ALL_AFTER;
                if passes == 0 { Scope::All } else { Scope::Links }
            }
        };
        let mut reconciler = reconciler.borrow_mut();
        reconciler.verify(&scope);
        shared.publish(&reconciler);
    }
}
