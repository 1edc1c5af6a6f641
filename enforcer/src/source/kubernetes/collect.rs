//! From the events of all kinds to updates.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::gather::Gathered;
use super::kind::Kind;
use super::node::NodeName;
use super::state::Watches;
use super::tracker::Tracker;
use super::watch::Received;
use crate::source::Update;

/// Events that may wait to be processed.
pub(super) const WAITING: usize = 512;

/// Turns events into updates until either channel closes.
pub(super) async fn collect<U: From<Update>>(
    mut received: mpsc::Receiver<Received>,
    mut node: NodeName,
    mut gathered: Gathered,
    watches: &Watches,
    updates: &mpsc::Sender<U>,
) {
    let mut trackers = Trackers::new();
    let mut events = Vec::with_capacity(WAITING);
    let mut complete = false;
    loop {
        let due = gathered.due(Instant::now());
        let is_open = tokio::select! {
            biased;
            count = received.recv_many(&mut events, WAITING) => count > 0,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => true,
        };
        let mut update = trackers.take(events.drain(..), watches);
        let known = trackers.of(Kind::Node).is_some_and(|nodes| node.check(nodes));
        complete |= known && trackers.are_complete();
        update.complete = complete;
        gathered.add(update);
        let now = Instant::now();
        let is_due = gathered.due(now).is_some_and(|it| it <= now || !is_open);
        if is_due && updates.send(gathered.take(now).into()).await.is_err() || !is_open {
            return;
        }
    }
}

/// The tracker of each kind.
pub(super) struct Trackers(BTreeMap<Kind, Tracker>);

impl Trackers {
    pub(super) fn new() -> Self {
        Self(Kind::ALL.into_iter().map(|kind| (kind, Tracker::new(kind))).collect())
    }

    pub(super) fn of(&self, kind: Kind) -> Option<&Tracker> {
        self.0.get(&kind)
    }

    fn are_complete(&self) -> bool {
        self.0.values().all(Tracker::is_complete)
    }

    /// Applies events; the caller sets whether the update is complete.
    pub(super) fn take(
        &mut self,
        events: impl Iterator<Item = Received>,
        watches: &Watches,
    ) -> Update {
        let mut update = Update::default();
        for (kind, event, received_at) in events {
            let first = update.received_at.map_or(received_at, |it| it.min(received_at));
            update.received_at = Some(first);
            let tracker = self.0.entry(kind).or_insert_with(|| Tracker::new(kind));
            let then = tracker.take(event);
            update.changes.extend(then.changes);
            update.remarks.extend(then.remarks);
        }
        for (kind, tracker) in &self.0 {
            watches.change(*kind, |state| {
                state.complete = tracker.is_complete();
                state.objects = tracker.objects();
                state.bad = tracker.bad();
            });
        }
        update
    }
}
