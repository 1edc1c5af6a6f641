//! A copy of the whole cluster, with pauses: a large one takes longer than a change of policy may wait.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use enforcer_core::model::Cluster;
use tokio::time::sleep;

use crate::agent::reconciler::Reconciler;
use crate::inspect::State;

/// The objects that are copied without a pause: less than a millisecond.
const AT_ONCE: usize = 512;
/// The pause.
const PAUSE: Duration = Duration::from_millis(2);

/// The cluster as the agent knows it. Changes that arrive meanwhile may be in it or not.
pub(super) async fn whole(reconciler: &RefCell<Reconciler>) -> State {
    let (mut copy, node) = {
        let reconciler = reconciler.borrow();
        (reconciler.cluster.without_objects(), reconciler.node_name().to_owned())
    };
    all(reconciler, &mut copy.namespaces, |it| &it.namespaces).await;
    all(reconciler, &mut copy.policies, |it| &it.policies).await;
    all(reconciler, &mut copy.services, |it| &it.services).await;
    all(reconciler, &mut copy.pods, |it| &it.pods).await;
    State::of_node(copy, &node)
}

async fn all<K: Ord + Clone, V: Clone>(
    reconciler: &RefCell<Reconciler>,
    copy: &mut BTreeMap<K, V>,
    of: impl Fn(&Cluster) -> &BTreeMap<K, V>,
) {
    loop {
        let next = {
            let reconciler = reconciler.borrow();
            some(of(&reconciler.cluster), copy.keys().next_back())
        };
        let is_end = next.len() < AT_ONCE;
        copy.extend(next);
        if is_end {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// The next objects.
fn some<K: Ord + Clone, V: Clone>(from: &BTreeMap<K, V>, last: Option<&K>) -> Vec<(K, V)> {
    let start = last.map_or(Unbounded, Excluded);
    let next = from.range((start, Unbounded)).take(AT_ONCE);
    next.map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_is_copied_once() {
        let all: BTreeMap<usize, usize> = (0..3 * AT_ONCE + 5).map(|it| (it, it)).collect();
        let mut copy = BTreeMap::new();
        let mut steps = 0;
        loop {
            let next = some(&all, copy.keys().next_back());
            let is_end = next.len() < AT_ONCE;
            copy.extend(next);
            steps += 1;
            if is_end {
                break;
            }
        }
        assert_eq!((copy, steps), (all, 4));
    }
}
