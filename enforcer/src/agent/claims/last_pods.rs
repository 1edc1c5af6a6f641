//! Whose each interface has been, and since when nobody's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::node::{Assignment, Snapshot};
use enforcer_core::model::PodId;
use enforcer_core::tables::Inherited;

/// What passes at a pod's interface until the pod is known (semantics C6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum UnknownPod {
    /// Everything, so that a new pod does not lose its first packets.
    #[default]
    Allow,
    /// Only the traffic of the link and of the node itself.
    Deny,
}

/// The memory of interfaces.
#[derive(Debug, Default)]
pub(in crate::agent) struct LastPods {
    owned: BTreeMap<u32, Owned>,
    /// Interfaces that nobody has ever claimed, since when.
    waiting: BTreeMap<u32, Instant>,
}

#[derive(Debug)]
struct Owned {
    pod: PodId,
    /// The namespace behind the interface, and the other end's index there; `None`: an earlier
    /// agent's knowledge, and not looked at yet.
    place: Option<(i32, u32)>,
}

/// The interfaces that lead to a pod, but to none that is known.
pub(in crate::agent) fn podless(snapshot: &Snapshot, assignment: &Assignment) -> BTreeSet<u32> {
    let claimed = assignment.unknown.iter().chain(assignment.ambiguous.keys());
    claimed.chain(snapshot.unaddressed.keys()).copied().collect()
}

impl LastPods {
    /// The last pod that the interface was known to be of.
    pub(in crate::agent) fn last(&self, ifindex: u32) -> Option<&PodId> {
        self.owned.get(&ifindex).map(|owned| &owned.pod)
    }

    /// Goes on from what an earlier agent has noted.
    pub(in crate::agent) fn resume(&mut self, inherited: &[Inherited]) {
        for it in inherited {
            if let Some(pod) = it.owner.as_ref().and_then(|owner| owner.pod()) {
                self.owned.insert(it.ifindex, Owned { pod: pod.clone(), place: None });
            }
        }
    }

    /// Takes note of who has what now. Gives the pods that nobody knew before, and for how long
    /// their interfaces have been there.
    pub(in crate::agent) fn remember(
        &mut self,
        snapshot: &Snapshot,
        assignment: &Assignment,
        now: Instant,
    ) -> Vec<(PodId, Duration)> {
        let place = |ifindex: &u32| {
            snapshot.interfaces.get(ifindex).map(|it| (it.namespace, it.peer_ifindex))
        };
        self.owned.retain(|ifindex, owned| match place(ifindex) {
            Some(place) => *owned.place.get_or_insert(place) == place,
            // Its addresses are gone, the interface is not.
            None => snapshot.unaddressed.contains_key(ifindex),
        });
        for (ifindex, pod) in &assignment.pods {
            if let Some(place) = place(ifindex) {
                self.owned.insert(*ifindex, Owned { pod: pod.clone(), place: Some(place) });
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
        for ifindex in podless.into_iter().filter(|ifindex| !self.owned.contains_key(ifindex)) {
            self.waiting.entry(ifindex).or_insert(now);
        }
        waited
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::PodInterface;
    use enforcer_core::tables::Owner;

    fn snapshot(interfaces: &[(u32, i32)]) -> Snapshot {
        let interface = |&(ifindex, namespace): &(u32, i32)| {
            let (name, addresses) = (format!("veth{ifindex}"), BTreeSet::new());
            (ifindex, PodInterface { ifindex, name, addresses, peer_ifindex: 2, namespace })
        };
        Snapshot { interfaces: interfaces.iter().map(interface).collect(), ..Snapshot::default() }
    }

    fn pod(name: &str) -> PodId {
        PodId::new("default", name)
    }

    fn known(ifindex: u32, name: &str) -> Assignment {
        Assignment { pods: BTreeMap::from([(ifindex, pod(name))]), ..Assignment::default() }
    }

    fn unknown(ifindex: u32) -> Assignment {
        Assignment { unknown: BTreeSet::from([ifindex]), ..Assignment::default() }
    }

    #[test]
    fn c6_a_wait_ends_when_the_pod_is_known() {
        let mut owners = LastPods::default();
        let (start, seen) = (Instant::now(), snapshot(&[(5, 1)]));
        let later = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(owners.remember(&seen, &unknown(5), start), []);
        assert_eq!(owners.remember(&seen, &unknown(5), later(1)), []);
        let waited = owners.remember(&seen, &known(5, "a"), later(3));
        assert_eq!(waited, [(pod("a"), Duration::from_secs(3))]);
        assert_eq!(owners.remember(&seen, &known(5, "a"), later(4)), []);
        // It was known before: this is no wait.
        assert_eq!(owners.remember(&seen, &unknown(5), later(5)), []);
        assert_eq!(owners.remember(&seen, &known(5, "b"), later(6)), []);
    }

    #[test]
    fn c3_the_next_agent_knows_whose_an_interface_was() {
        let mut owners = LastPods::default();
        let now = Instant::now();
        let noted = |id, ifindex, owner| {
            let (owner, uid) = (Some(owner), String::new());
            Inherited { id, ifindex, owner, uid }
        };
        owners.resume(&[
            noted(1, 5, Owner::Pod(pod("a"))),
            noted(2, 6, Owner::Gone(pod("b"))),
            noted(3, 7, Owner::Unknown { closed: false }),
            noted(4, 8, Owner::Pod(pod("d"))),
        ]);
        let claimed = Assignment { unknown: BTreeSet::from([5, 6, 7]), ..Assignment::default() };
        let seen = [(5, 1), (6, 2), (7, 3)];
        owners.remember(&snapshot(&seen), &claimed, now);
        assert_eq!(owners.last(5), Some(&pod("a")));
        assert_eq!(owners.last(6), Some(&pod("b")));
        assert_eq!(owners.last(7), None);
        assert_eq!(owners.last(8), None, "its interface is no more");
        owners.remember(&snapshot(&[(5, 9), (6, 2)]), &claimed, now);
        assert_eq!(owners.last(5), None, "another namespace than when it was first looked at");
        assert_eq!(owners.last(6), Some(&pod("b")));
    }

    #[test]
    fn c5_an_interface_is_its_last_pods_until_it_leads_elsewhere() {
        let mut owners = LastPods::default();
        let now = Instant::now();
        let seen = snapshot(&[(5, 1)]);
        owners.remember(&seen, &known(5, "a"), now);
        owners.remember(&seen, &unknown(5), now);
        assert_eq!(owners.last(5), Some(&pod("a")));
        let unaddressed = BTreeMap::from([(5, "veth5".to_owned())]);
        let bare = Snapshot { unaddressed, ..Snapshot::default() };
        owners.remember(&bare, &Assignment::default(), now);
        assert_eq!(owners.last(5), Some(&pod("a")));
        owners.remember(&seen, &known(5, "b"), now);
        assert_eq!(owners.last(5), Some(&pod("b")));
        owners.remember(&snapshot(&[(5, 2)]), &unknown(5), now);
        assert_eq!(owners.last(5), None, "another namespace");
        owners.remember(&snapshot(&[]), &Assignment::default(), now);
        owners.remember(&seen, &unknown(5), now);
        assert_eq!(owners.last(5), None, "another interface of the same number");
    }
}
