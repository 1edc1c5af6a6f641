//! The last pod of each interface, and how long an interface has been without one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::veth_peer::{VethPeer, veth_peer};
use crate::node::{Assignment, Snapshot};
use enforcer_core::model::PodId;
use enforcer_core::tables::Inherited;

/// Remembers the last pod of each interface and how long it has been unassigned.
#[derive(Debug, Default)]
pub(in crate::agent) struct LastPods {
    last: BTreeMap<u32, LastPod>,
    /// Interfaces that never had a pod, and since when they are there.
    waiting: BTreeMap<u32, Instant>,
}

#[derive(Debug)]
struct LastPod {
    pod: PodId,
    /// `None`: inherited from an earlier agent, and not seen yet.
    peer: Option<VethPeer>,
}

/// The interfaces that lead to a pod, but to none that is known.
pub(in crate::agent) fn podless(snapshot: &Snapshot, assignment: &Assignment) -> BTreeSet<u32> {
    let claimed = assignment.unknown.iter().chain(assignment.ambiguous.keys());
    claimed.chain(snapshot.unaddressed.keys()).copied().collect()
}

impl LastPods {
    /// The last known pod of the interface.
    pub(in crate::agent) fn of(&self, ifindex: u32) -> Option<&PodId> {
        self.last.get(&ifindex).map(|last| &last.pod)
    }

    /// Takes over the records of an earlier agent.
    pub(in crate::agent) fn resume(&mut self, inherited: &[Inherited]) {
        for it in inherited {
            if let Some(pod) = it.owner.as_ref().and_then(|owner| owner.pod()) {
                self.last.insert(it.ifindex, LastPod { pod: pod.clone(), peer: None });
            }
        }
    }

    /// Records the present assignment. Returns the pods that are new behind their interfaces, and
    /// for how long these have waited.
    pub(in crate::agent) fn record(
        &mut self,
        snapshot: &Snapshot,
        assignment: &Assignment,
        now: Instant,
    ) -> Vec<(PodId, Duration)> {
        self.last.retain(|ifindex, last| match veth_peer(snapshot, *ifindex) {
            Some(peer) => *last.peer.get_or_insert(peer) == peer,
            // The interface may still be there without its addresses.
            None => snapshot.unaddressed.contains_key(ifindex),
        });
        for (ifindex, pod) in &assignment.pods {
            if let Some(peer) = veth_peer(snapshot, *ifindex) {
                self.last.insert(*ifindex, LastPod { pod: pod.clone(), peer: Some(peer) });
            }
        }
        let podless = podless(snapshot, assignment);
        let mut waited = Vec::new();
        self.waiting.retain(|ifindex, since| {
            if let Some(pod) = assignment.pods.get(ifindex) {
                waited.push((pod.clone(), now.duration_since(*since)));
            }
            podless.contains(ifindex)
        });
        for ifindex in podless.into_iter().filter(|ifindex| !self.last.contains_key(ifindex)) {
            self.waiting.entry(ifindex).or_insert(now);
        }
        waited
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{pod, snapshot};
    use super::*;
    use enforcer_core::tables::Owner;

    fn known(ifindex: u32, name: &str) -> Assignment {
        Assignment { pods: BTreeMap::from([(ifindex, pod(name))]), ..Assignment::default() }
    }

    fn unknown(ifindex: u32) -> Assignment {
        Assignment { unknown: BTreeSet::from([ifindex]), ..Assignment::default() }
    }

    #[test]
    fn c6_a_wait_ends_when_the_pod_is_known() {
        let mut last_pods = LastPods::default();
        let (start, seen) = (Instant::now(), snapshot(&[(5, 1)]));
        let later = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(last_pods.record(&seen, &unknown(5), start), []);
        assert_eq!(last_pods.record(&seen, &unknown(5), later(1)), []);
        let waited = last_pods.record(&seen, &known(5, "a"), later(3));
        assert_eq!(waited, [(pod("a"), Duration::from_secs(3))]);
        assert_eq!(last_pods.record(&seen, &known(5, "a"), later(4)), []);
        // Its pod was known before: this is no wait.
        assert_eq!(last_pods.record(&seen, &unknown(5), later(5)), []);
        assert_eq!(last_pods.record(&seen, &known(5, "b"), later(6)), []);
    }

    #[test]
    fn c3_the_next_agent_knows_the_last_pod_of_an_interface() {
        let mut last_pods = LastPods::default();
        let now = Instant::now();
        let noted = |id, ifindex, owner| {
            let (owner, uid) = (Some(owner), String::new());
            Inherited { id, ifindex, owner, uid }
        };
        last_pods.resume(&[
            noted(1, 5, Owner::Pod(pod("a"))),
            noted(2, 6, Owner::Gone(pod("b"))),
            noted(3, 7, Owner::Unknown { closed: false }),
            noted(4, 8, Owner::Pod(pod("d"))),
        ]);
        let claimed = Assignment { unknown: BTreeSet::from([5, 6, 7]), ..Assignment::default() };
        let seen = [(5, 1), (6, 2), (7, 3)];
        last_pods.record(&snapshot(&seen), &claimed, now);
        assert_eq!(last_pods.of(5), Some(&pod("a")));
        assert_eq!(last_pods.of(6), Some(&pod("b")));
        assert_eq!(last_pods.of(7), None);
        assert_eq!(last_pods.of(8), None, "its interface is gone");
        last_pods.record(&snapshot(&[(5, 9), (6, 2)]), &claimed, now);
        assert_eq!(last_pods.of(5), None, "another namespace than when it was first seen");
        assert_eq!(last_pods.of(6), Some(&pod("b")));
    }

    #[test]
    fn c5_an_interface_keeps_its_last_pod_until_it_leads_elsewhere() {
        let mut last_pods = LastPods::default();
        let now = Instant::now();
        let seen = snapshot(&[(5, 1)]);
        last_pods.record(&seen, &known(5, "a"), now);
        last_pods.record(&seen, &unknown(5), now);
        assert_eq!(last_pods.of(5), Some(&pod("a")));
        let unaddressed = BTreeMap::from([(5, "veth5".to_owned())]);
        let bare = Snapshot { unaddressed, ..Snapshot::default() };
        last_pods.record(&bare, &Assignment::default(), now);
        assert_eq!(last_pods.of(5), Some(&pod("a")));
        last_pods.record(&seen, &known(5, "b"), now);
        assert_eq!(last_pods.of(5), Some(&pod("b")));
        last_pods.record(&snapshot(&[(5, 2)]), &unknown(5), now);
        assert_eq!(last_pods.of(5), None, "another namespace");
        last_pods.record(&snapshot(&[]), &Assignment::default(), now);
        last_pods.record(&seen, &unknown(5), now);
        assert_eq!(last_pods.of(5), None, "another interface of the same number");
    }
}
