//! Claims of pods to interfaces: an address alone gives no pod a new interface (semantics C5).
//!
//! When a pod ends, its address may be reused by the next pod before the API reports a change to
//! either. So a pod that lost its interface does not get another one for its address alone. Its claim is
//! accepted when the API reports a change to the pod, as it does when its sandbox is replaced, or
//! after [`HELD`] without a competing claim. A pod that is being deleted gets no other interface: the
//! kubelet creates no sandbox for it any more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::veth_peer::{VethPeer, veth_peer};
use crate::node::{Assignment, Snapshot};
use enforcer_core::model::{Cluster, PodId};
use enforcer_core::tables::{Inherited, Owner};

/// How long a claim that nothing else supports is held back.
const HELD: Duration = Duration::from_secs(15);
/// A change this much older than the end of an interface may still follow from that end: ends are
/// noticed later than they happen.
const NOTICED: Duration = Duration::from_secs(1);

/// The interface of a pod.
#[derive(Debug)]
struct Place {
    ifindex: u32,
    peer: VethPeer,
    /// The last change of the pod that was reported.
    changed_at: Option<Instant>,
    /// When the end of the interface was noticed.
    lost_at: Option<Instant>,
    /// When the pod's address appeared in another namespace as well.
    rival_at: Option<Instant>,
}

/// The result of a claim to an interface.
enum Claim {
    Granted,
    /// For the remaining time; `None`: forever.
    Held(Option<Duration>),
}

/// The claims of this node's pods to interfaces.
#[derive(Debug, Default)]
pub(in crate::agent) struct PodClaims {
    places: BTreeMap<PodId, Place>,
    /// The interfaces that are held back, and the pods that claim them.
    held: BTreeMap<u32, PodId>,
    /// The assignment after the previous [`Self::hold_back`].
    previous: BTreeMap<u32, (PodId, VethPeer)>,
}

impl PodClaims {
    /// Takes over the records of an earlier agent. A pod whose interface is gone has lost it
    /// meanwhile: that the API still shows its address is no change to the pod.
    pub(in crate::agent) fn resume(
        &mut self,
        inherited: &[Inherited],
        cluster: &Cluster,
        snapshot: &Snapshot,
        now: Instant,
    ) {
        for it in inherited {
            let Some(Owner::Pod(pod)) = &it.owner else { continue };
            // The record of a former pod of the same name does not count.
            let same = cluster.pods.get(pod).is_some_and(|pod| pod.uid == it.uid);
            if !same || self.places.get(pod).is_some_and(|place| place.lost_at.is_none()) {
                continue;
            }
            let peer = veth_peer(snapshot, it.ifindex);
            let is_there = peer.is_some() || snapshot.unaddressed.contains_key(&it.ifindex);
            let place = Place {
                ifindex: it.ifindex,
                peer: peer.unwrap_or_default(),
                changed_at: None,
                lost_at: (!is_there).then_some(now),
                rival_at: None,
            };
            self.places.insert(pod.clone(), place);
        }
    }

    /// Notes a change to the pod.
    pub(in crate::agent) fn changed(&mut self, pod: &PodId, now: Instant) {
        if let Some(place) = self.places.get_mut(pod) {
            place.changed_at = Some(now);
        }
    }

    /// Forgets a pod that is gone.
    pub(in crate::agent) fn forget(&mut self, pod: &PodId) {
        self.places.remove(pod);
    }

    /// The pod whose claim to the interface is held back.
    pub(in crate::agent) fn held(&self, ifindex: u32) -> Option<&PodId> {
        self.held.get(&ifindex)
    }

    /// Removes claims that are held back from the assignment. Returns when to check again, if time
    /// alone releases one.
    pub(in crate::agent) fn hold_back(
        &mut self,
        snapshot: &Snapshot,
        assignment: &mut Assignment,
        is_terminating: impl Fn(&PodId) -> bool,
        now: Instant,
    ) -> Option<Duration> {
        self.notice_ends(snapshot, now);
        self.held.clear();
        let mut wait: Option<Duration> = None;
        for (ifindex, pod) in &assignment.pods {
            let Some(peer) = veth_peer(snapshot, *ifindex) else { continue };
            let Claim::Held(left) = self.claim(pod, *ifindex, peer, is_terminating(pod), now)
            else {
                continue;
            };
            self.held.insert(*ifindex, pod.clone());
            wait = wait.into_iter().chain(left).min();
        }
        // The time of a rival that is gone does not count for the next one.
        for (pod, place) in &mut self.places {
            place.rival_at = place.rival_at.filter(|_| self.held.values().any(|held| held == pod));
        }
        for ifindex in self.held.keys() {
            assignment.pods.remove(ifindex);
            assignment.unknown.insert(*ifindex);
        }
        let present = assignment.pods.iter().filter_map(|(ifindex, pod)| {
            Some((*ifindex, (pod.clone(), veth_peer(snapshot, *ifindex)?)))
        });
        self.previous = present.collect();
        wait
    }

    fn notice_ends(&mut self, snapshot: &Snapshot, now: Instant) {
        for place in self.places.values_mut() {
            let is_there = match veth_peer(snapshot, place.ifindex) {
                Some(peer) => peer == place.peer,
                None => snapshot.unaddressed.contains_key(&place.ifindex),
            };
            place.lost_at = if is_there { None } else { place.lost_at.or(Some(now)) };
        }
    }

    /// Gives the interface to the pod, unless the claim is to be held back.
    fn claim(
        &mut self,
        pod: &PodId,
        ifindex: u32,
        peer: VethPeer,
        is_terminating: bool,
        now: Instant,
    ) -> Claim {
        // The first interface of a pod is a change to it, which may precede the end of a former
        // pod's interface.
        let new = Place { ifindex, peer, changed_at: Some(now), lost_at: None, rival_at: None };
        let place = self.places.entry(pod.clone()).or_insert(new);
        if place.lost_at.is_none() {
            // Its own interface, or a further one of the same namespace.
            if place.peer.0 == peer.0 {
                return Claim::Granted;
            }
            place.rival_at.get_or_insert(now);
        }
        let Some(since) = place.lost_at.or(place.rival_at) else { return Claim::Granted };
        let is_previous = self.previous.get(&ifindex).is_some_and(|it| *it == (pod.clone(), peer));
        let has_changed = place.changed_at.is_some_and(|it| it + NOTICED >= since);
        let held = now.saturating_duration_since(since);
        if !is_previous && is_terminating {
            return Claim::Held(None);
        }
        if !is_previous && !has_changed && held < HELD {
            return Claim::Held(Some(HELD - held));
        }
        let changed_at = place.changed_at;
        *place = Place { ifindex, peer, changed_at, lost_at: None, rival_at: None };
        Claim::Granted
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{pod, snapshot};
    use super::*;
    use enforcer_core::model::Pod;

    const NONE: [u32; 0] = [];

    fn claimed(claims: &[(u32, &str)]) -> Assignment {
        let pods = claims.iter().map(|(ifindex, name)| (*ifindex, pod(name)));
        Assignment { pods: pods.collect(), ..Assignment::default() }
    }

    /// The interfaces that are granted of these claims.
    fn granted(
        pod_claims: &mut PodClaims,
        seen: &Snapshot,
        claims: &[(u32, &str)],
        now: Instant,
    ) -> Vec<u32> {
        let mut assignment = claimed(claims);
        pod_claims.hold_back(seen, &mut assignment, |_| false, now);
        for (ifindex, name) in claims {
            let held = pod_claims.held(*ifindex).is_some();
            assert_eq!(assignment.pods.get(ifindex), (!held).then_some(&pod(name)));
            assert_eq!(assignment.unknown.contains(ifindex), held);
        }
        assignment.pods.into_keys().collect()
    }

    /// A pod at interface 5, namespace 1, that changed long before `now`.
    fn placed() -> (PodClaims, Instant) {
        let mut pod_claims = PodClaims::default();
        let start = Instant::now();
        assert_eq!(granted(&mut pod_claims, &snapshot(&[(5, 1)]), &[(5, "old")], start), [5]);
        pod_claims.changed(&pod("old"), start);
        (pod_claims, start + Duration::from_secs(60))
    }

    #[test]
    fn c5_an_address_alone_gives_no_new_interface() {
        // Before or after the end of the old interface, and with its index.
        for stages in [vec![vec![(6, 2)]], vec![vec![], vec![(6, 2)]], vec![vec![(5, 2)]]] {
            let (mut pod_claims, now) = placed();
            for seen in stages {
                let claims: Vec<(u32, &str)> = seen.iter().map(|(it, _)| (*it, "old")).collect();
                assert_eq!(
                    granted(&mut pod_claims, &snapshot(&seen), &claims, now),
                    NONE,
                    "{seen:?}"
                );
            }
        }
    }

    #[test]
    fn c3_c5_the_next_agent_gives_no_new_interface_for_an_address_alone() {
        let now = Instant::now();
        let known = |uid: &str| {
            let mut cluster = Cluster::default();
            let pod = Pod { uid: uid.to_owned(), ..Pod::new(pod("old")) };
            cluster.pods.insert(pod.id.clone(), pod);
            cluster
        };
        let owner = Some(Owner::Pod(pod("old")));
        let noted = [Inherited { id: 1, ifindex: 5, owner, uid: "first".to_owned() }];
        let seen = snapshot(&[(6, 2)]);
        let resumed = |uid: &str, seen: &Snapshot| {
            let mut pod_claims = PodClaims::default();
            pod_claims.resume(&noted, &known(uid), seen, now);
            pod_claims
        };
        assert_eq!(granted(&mut resumed("first", &seen), &seen, &[(6, "old")], now), NONE);
        // Another pod of the same name never had that interface.
        assert_eq!(granted(&mut resumed("second", &seen), &seen, &[(6, "old")], now), [6]);
        let seen = snapshot(&[(5, 1)]);
        assert_eq!(granted(&mut resumed("first", &seen), &seen, &[(5, "old")], now), [5]);
    }

    #[test]
    fn a_pod_may_have_two_interfaces_in_one_namespace_and_lose_either() {
        let (mut pod_claims, now) = placed();
        let both = snapshot(&[(5, 1), (6, 1)]);
        assert_eq!(granted(&mut pod_claims, &both, &[(5, "old"), (6, "old")], now), [5, 6]);
        assert_eq!(granted(&mut pod_claims, &snapshot(&[(6, 1)]), &[(6, "old")], now), [6]);
    }

    #[test]
    fn c5_the_same_address_in_another_namespace_is_another_pods() {
        let (mut pod_claims, now) = placed();
        let both = snapshot(&[(5, 1), (6, 2)]);
        assert_eq!(granted(&mut pod_claims, &both, &[(5, "old"), (6, "old")], now), [5]);
        pod_claims.changed(&pod("old"), now);
        assert_eq!(granted(&mut pod_claims, &both, &[(5, "old"), (6, "old")], now), [5, 6]);
    }

    #[test]
    fn c5_a_second_rival_has_to_wait_like_the_first() {
        let (mut pod_claims, now) = placed();
        let claims = [(5, "old"), (6, "old")];
        assert_eq!(granted(&mut pod_claims, &snapshot(&[(5, 1), (6, 2)]), &claims, now), [5]);
        assert_eq!(granted(&mut pod_claims, &snapshot(&[(5, 1)]), &claims[..1], now), [5]);
        let later = now + HELD;
        assert_eq!(granted(&mut pod_claims, &snapshot(&[(5, 1), (6, 3)]), &claims, later), [5]);
    }

    #[test]
    fn c5_the_next_pod_gets_the_interface_at_once() {
        let (mut pod_claims, now) = placed();
        let seen = snapshot(&[(6, 2)]);
        assert_eq!(granted(&mut pod_claims, &seen, &[(6, "old")], now), NONE);
        assert_eq!(granted(&mut pod_claims, &seen, &[(6, "new")], now), [6]);
    }

    #[test]
    fn c5_a_change_of_the_pod_supports_its_claim() {
        let seen = snapshot(&[(6, 2)]);
        let (mut pod_claims, now) = placed();
        assert_eq!(granted(&mut pod_claims, &seen, &[(6, "old")], now), NONE);
        pod_claims.changed(&pod("old"), now);
        assert_eq!(granted(&mut pod_claims, &seen, &[(6, "old")], now), [6]);
        // Shortly before the end was noticed.
        let (mut pod_claims, now) = placed();
        pod_claims.changed(&pod("old"), now);
        assert_eq!(granted(&mut pod_claims, &seen, &[(6, "old")], now + NOTICED), [6]);
        // Deleted, and created again with its name.
        let (mut pod_claims, now) = placed();
        pod_claims.forget(&pod("old"));
        assert_eq!(granted(&mut pod_claims, &seen, &[(6, "old")], now), [6]);
    }

    /// Its address was a former pod's, whose interface was still seen when the change came.
    #[test]
    fn c5_a_change_before_the_first_interface_counts_too() {
        let mut pod_claims = PodClaims::default();
        let now = Instant::now();
        pod_claims.changed(&pod("new"), now);
        assert_eq!(granted(&mut pod_claims, &snapshot(&[(5, 1)]), &[(5, "new")], now), [5]);
        let soon = now + NOTICED;
        assert_eq!(granted(&mut pod_claims, &snapshot(&[(6, 2)]), &[(6, "new")], soon), [6]);
        let late = soon + 2 * NOTICED;
        assert_eq!(granted(&mut pod_claims, &snapshot(&[(7, 3)]), &[(7, "new")], late), NONE);
    }

    #[test]
    fn c5_a_pod_that_is_being_deleted_gets_no_other_interface() {
        let seen = snapshot(&[(6, 2)]);
        let (mut pod_claims, now) = placed();
        pod_claims.changed(&pod("old"), now);
        let mut assignment = claimed(&[(6, "old")]);
        let long = now + 10 * HELD;
        assert_eq!(pod_claims.hold_back(&seen, &mut assignment, |_| true, long), None);
        assert_eq!(pod_claims.held(6), Some(&pod("old")));
        // It keeps its interface, and gets the first that it is seen with.
        let (mut pod_claims, now) = placed();
        let mut assignment = claimed(&[(5, "old"), (7, "unseen")]);
        let seen = snapshot(&[(5, 1), (7, 3)]);
        assert_eq!(pod_claims.hold_back(&seen, &mut assignment, |_| true, now), None);
        assert_eq!(assignment.pods.len(), 2);
    }

    #[test]
    fn c5_a_claim_without_a_competing_one_is_accepted_after_a_while() {
        let (mut pod_claims, now) = placed();
        let seen = snapshot(&[(6, 2)]);
        let mut assignment = claimed(&[(6, "old")]);
        let wait = pod_claims.hold_back(&seen, &mut assignment, |_| false, now);
        assert_eq!(wait, Some(HELD));
        assert_eq!(granted(&mut pod_claims, &seen, &[(6, "old")], now + HELD), [6]);
    }
}
