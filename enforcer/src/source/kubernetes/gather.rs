//! What goes on to the agent at once, and what goes on together.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::source::Update;
use enforcer_core::model::{Change, Name, PodId};

/// The time between two updates with nothing but changes of other nodes' pods.
const INTERVAL: Duration = Duration::from_millis(10);
/// Changes in an update, apart from those that arrived with the last of them.
const MOST: usize = 512;

/// The changes that have not been sent yet.
///
/// Of a large cluster's changes nearly all are of pods elsewhere. The first of them after a pause is sent
/// at once, later ones together, so that the reconciler need not run for each. A change that is of this
/// node's pods or of no pod waits for nothing, and takes along what arrived before it.
pub(super) struct Gathered {
    node: Name,
    /// The pods of this node.
    local: BTreeSet<PodId>,
    update: Update,
    has_news: bool,
    sent_at: Option<Instant>,
}

impl Gathered {
    /// Nothing yet, for the node of this name.
    pub(super) fn new(node: &str) -> Self {
        Self {
            node: Name::from(node),
            local: BTreeSet::new(),
            update: Update::default(),
            has_news: false,
            sent_at: None,
        }
    }

    /// Adds the next update.
    pub(super) fn add(&mut self, next: Update) {
        let was_complete = self.update.complete;
        let Update { changes, remarks, complete, received_at, concerns_node: _ } = next;
        let mut is_near = !remarks.is_empty() || complete != was_complete;
        for change in &changes {
            is_near |= self.note(change);
        }
        if is_near || !changes.is_empty() {
            self.has_news = true;
            self.update.received_at = self.update.received_at.or(received_at);
        }
        self.update.concerns_node |= is_near;
        self.update.complete = complete;
        self.update.changes.extend(changes);
        self.update.remarks.extend(remarks);
    }

    /// When to send; `None`: there is nothing to send.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let at_once = self.update.concerns_node || self.update.changes.len() >= MOST;
        let after_last = self.sent_at.filter(|_| !at_once).map(|it| it + INTERVAL);
        self.has_news.then(|| after_last.map_or(now, |it| it.max(now)))
    }

    /// The update to send now.
    pub(super) fn take(&mut self, now: Instant) -> Update {
        self.has_news = false;
        self.sent_at = Some(now);
        let complete = self.update.complete;
        std::mem::replace(&mut self.update, Update { complete, ..Update::default() })
    }

    /// Whether the change is of this node's pods, or of no pod.
    fn note(&mut self, change: &Change) -> bool {
        match change {
            Change::Pod(pod) if pod.node.as_ref() == Some(&self.node) => {
                self.local.insert(pod.id.clone());
                true
            }
            Change::Pod(pod) => self.local.remove(&pod.id),
            Change::PodGone(pod) => self.local.remove(pod),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use enforcer_core::model::Pod;

    fn pod(name: &str, node: &str) -> Change {
        Change::Pod(Pod { node: Some(Name::from(node)), ..Pod::new(PodId::new("a", name)) })
    }

    fn update(changes: impl Into<Vec<Change>>) -> Update {
        Update { changes: changes.into(), ..Update::default() }
    }

    /// The milliseconds at which each of these updates, one a millisecond, is due.
    fn due(gathered: &mut Gathered, updates: impl IntoIterator<Item = Update>) -> Vec<u32> {
        let start = Instant::now();
        let after = |millis: u32| start + Duration::from_millis(millis.into());
        let mut sent = Vec::new();
        for (at, update) in (0..).zip(updates) {
            gathered.add(update);
            if gathered.due(after(at)).is_some_and(|it| it <= after(at)) {
                gathered.take(after(at));
                assert_eq!(gathered.due(after(at)), None);
                sent.push(at);
            }
        }
        sent
    }

    #[test]
    fn the_first_change_elsewhere_is_sent_at_once_and_later_ones_together() {
        let mut gathered = Gathered::new("here");
        let updates = (0..40).map(|it| update([pod(&it.to_string(), "elsewhere")]));
        assert_eq!(due(&mut gathered, updates), [0, 10, 20, 30]);
        let rest = gathered.take(Instant::now());
        assert_eq!((rest.changes.len(), rest.concerns_node), (9, false));
        assert_eq!(due(&mut Gathered::new("here"), [Update::default()]), [0; 0]);
    }

    #[test]
    fn changes_of_this_nodes_pods_and_of_no_pod_wait_for_nothing() {
        let gone = |name| Change::PodGone(PodId::new("a", name));
        let elsewhere = || update([pod("other", "elsewhere")]);
        let cases = [
            (elsewhere(), false),
            (update([pod("mine", "here")]), true),
            (update([gone("other")]), false),
            (update([gone("mine")]), true),
            (update([gone("mine")]), false),
            (update([pod("moved", "here"), pod("other", "elsewhere")]), true),
            (update([pod("moved", "elsewhere")]), true),
            (update([pod("moved", "elsewhere")]), false),
            (update([Change::NamespaceGone("a".to_owned())]), true),
            (Update { complete: true, ..elsewhere() }, true),
        ];
        let mut gathered = Gathered::new("here");
        let now = Instant::now();
        gathered.add(elsewhere());
        gathered.take(now);
        for (at, (update, at_once)) in cases.into_iter().enumerate() {
            gathered.add(update);
            let due = if at_once { now } else { now + INTERVAL };
            assert_eq!(gathered.due(now), Some(due), "{at}");
            assert_eq!(gathered.take(now).concerns_node, at_once, "{at}");
        }
    }

    /// Else the change's latency, which is counted from then, would be the time since some bookmark.
    #[test]
    fn events_without_news_are_not_the_first_of_an_update() {
        let arrived =
            |at, changes: Vec<Change>| Update { received_at: Some(at), ..update(changes) };
        let start = std::time::Instant::now();
        let [hour, later] = [3_600, 3_601].map(|it| start + Duration::from_secs(it));
        let mut gathered = Gathered::new("here");
        gathered.add(arrived(start, Vec::new()));
        gathered.add(arrived(hour, vec![pod("other", "elsewhere")]));
        gathered.add(arrived(later, vec![pod("other", "elsewhere")]));
        assert_eq!(gathered.take(Instant::now()).received_at, Some(hour));
    }

    #[test]
    fn an_update_is_bounded() {
        let mut gathered = Gathered::new("here");
        let now = Instant::now();
        gathered.take(now);
        gathered.add(update(vec![pod("other", "elsewhere"); MOST - 1]));
        assert_eq!(gathered.due(now), Some(now + INTERVAL));
        gathered.add(update([pod("other", "elsewhere")]));
        assert_eq!(gathered.due(now), Some(now));
    }
}
