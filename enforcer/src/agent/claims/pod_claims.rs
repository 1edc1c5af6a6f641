//! Where pods live: an address alone gives nobody a new interface (semantics C5).
//!
//! When a pod ends, its address may have gone on to the next pod before the API says anything of
//! either. So a pod whose interface is no more does not get another one for its address alone: it
//! needs news of it, as there are when its sandbox was made anew, or some time without other claims.
//! A pod that is being deleted gets none at all: no sandbox is made for it any more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::node::{Assignment, Snapshot};
use enforcer_core::model::{Cluster, PodId};
use enforcer_core::tables::{Inherited, Owner};

/// How long a claim that nothing else supports is held back.
const HELD: Duration = Duration::from_secs(15);
/// News this much older than the end of an interface may still be about what came after it: ends
/// are noticed later than they happen.
const NOTICED: Duration = Duration::from_secs(1);

/// The namespace behind an interface, and the other end's index there.
type Behind = (i32, u32);

#[derive(Debug)]
struct Home {
    ifindex: u32,
    behind: Behind,
    /// When something was last heard of the pod.
    heard: Option<Instant>,
    /// Since when the interface is no more.
    left: Option<Instant>,
    /// Since when its address is seen in another namespace, too.
    rival: Option<Instant>,
}

/// What becomes of a claim to an interface.
enum Claim {
    Granted,
    /// For how long yet; `None`: for good.
    Held(Option<Duration>),
}

/// The homes of this node's pods.
#[derive(Debug, Default)]
pub(in crate::agent) struct PodClaims {
    homes: BTreeMap<PodId, Home>,
    /// The interfaces that are held back, and who claims them.
    held: BTreeMap<u32, PodId>,
    /// Who had which interface last.
    had: BTreeMap<u32, (PodId, Behind)>,
}

impl PodClaims {
    /// Goes on from what an earlier agent has noted. A pod whose interface is gone has lost its
    /// home meanwhile: that the API still gives it its address is no news of it.
    pub(in crate::agent) fn resume(
        &mut self,
        inherited: &[Inherited],
        cluster: &Cluster,
        snapshot: &Snapshot,
        now: Instant,
    ) {
        for it in inherited {
            let Some(Owner::Pod(pod)) = &it.owner else { continue };
            // Another pod of its name lives where it says.
            let same = cluster.pods.get(pod).is_some_and(|pod| pod.uid == it.uid);
            if !same || self.homes.get(pod).is_some_and(|home| home.left.is_none()) {
                continue;
            }
            let place = behind(snapshot, it.ifindex);
            let is_there = place.is_some() || snapshot.unaddressed.contains_key(&it.ifindex);
            let left = (!is_there).then_some(now);
            let behind = place.unwrap_or_default();
            let home = Home { ifindex: it.ifindex, behind, heard: None, left, rival: None };
            self.homes.insert(pod.clone(), home);
        }
    }

    /// There is news of the pod.
    pub(in crate::agent) fn heard_of(&mut self, pod: &PodId, now: Instant) {
        if let Some(home) = self.homes.get_mut(pod) {
            home.heard = Some(now);
        }
    }

    /// The pod is gone.
    pub(in crate::agent) fn forget(&mut self, pod: &PodId) {
        self.homes.remove(pod);
    }

    /// The pod whose claim to the interface is held back.
    pub(in crate::agent) fn held(&self, ifindex: u32) -> Option<&PodId> {
        self.held.get(&ifindex)
    }

    /// Takes claims that are held back out of the assignment; says when to ask again, if any are.
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
            let Some(behind) = behind(snapshot, *ifindex) else { continue };
            let Claim::Held(left) = self.claim(pod, *ifindex, behind, is_terminating(pod), now)
            else {
                continue;
            };
            self.held.insert(*ifindex, pod.clone());
            wait = wait.into_iter().chain(left).min();
        }
        // A rival that is no more says nothing of the next one.
        for (pod, home) in &mut self.homes {
            home.rival = home.rival.filter(|_| self.held.values().any(|held| held == pod));
        }
        for ifindex in self.held.keys() {
            assignment.pods.remove(ifindex);
            assignment.unknown.insert(*ifindex);
        }
        let having = assignment.pods.iter().filter_map(|(ifindex, pod)| {
            Some((*ifindex, (pod.clone(), behind(snapshot, *ifindex)?)))
        });
        self.had = having.collect();
        wait
    }

    fn notice_ends(&mut self, snapshot: &Snapshot, now: Instant) {
        for home in self.homes.values_mut() {
            let is_there = match behind(snapshot, home.ifindex) {
                Some(behind) => behind == home.behind,
                None => snapshot.unaddressed.contains_key(&home.ifindex),
            };
            home.left = if is_there { None } else { home.left.or(Some(now)) };
        }
    }

    /// Lets the pod move in, unless its claim is to be held back.
    fn claim(
        &mut self,
        pod: &PodId,
        ifindex: u32,
        behind: Behind,
        is_terminating: bool,
        now: Instant,
    ) -> Claim {
        // Who has no home yet is news itself, and may have come before a former pod's interface went.
        let new = Home { ifindex, behind, heard: Some(now), left: None, rival: None };
        let home = self.homes.entry(pod.clone()).or_insert(new);
        if home.left.is_none() {
            // Its home, or a further interface of the same namespace.
            if home.behind.0 == behind.0 {
                return Claim::Granted;
            }
            home.rival.get_or_insert(now);
        }
        let Some(since) = home.left.or(home.rival) else { return Claim::Granted };
        let had = self.had.get(&ifindex).is_some_and(|it| *it == (pod.clone(), behind));
        let news = home.heard.is_some_and(|heard| heard + NOTICED >= since);
        let held = now.saturating_duration_since(since);
        if !had && is_terminating {
            return Claim::Held(None);
        }
        if !had && !news && held < HELD {
            return Claim::Held(Some(HELD - held));
        }
        *home = Home { ifindex, behind, heard: home.heard, left: None, rival: None };
        Claim::Granted
    }
}

fn behind(snapshot: &Snapshot, ifindex: u32) -> Option<Behind> {
    snapshot.interfaces.get(&ifindex).map(|it| (it.namespace, it.peer_ifindex))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::node::PodInterface;
    use enforcer_core::model::Pod;

    const NOBODY: [u32; 0] = [];

    /// Interfaces by index and namespace.
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

    fn claimed(claims: &[(u32, &str)]) -> Assignment {
        let pods = claims.iter().map(|(ifindex, name)| (*ifindex, pod(name)));
        Assignment { pods: pods.collect(), ..Assignment::default() }
    }

    /// Who gets what of these claims.
    fn given(
        homes: &mut PodClaims,
        seen: &Snapshot,
        claims: &[(u32, &str)],
        now: Instant,
    ) -> Vec<u32> {
        let mut assignment = claimed(claims);
        homes.hold_back(seen, &mut assignment, |_| false, now);
        for (ifindex, name) in claims {
            let held = homes.held(*ifindex).is_some();
            assert_eq!(assignment.pods.get(ifindex), (!held).then_some(&pod(name)));
            assert_eq!(assignment.unknown.contains(ifindex), held);
        }
        assignment.pods.into_keys().collect()
    }

    /// A pod at interface 5, namespace 1, heard of long before `now`.
    fn at_home() -> (PodClaims, Instant) {
        let mut homes = PodClaims::default();
        let start = Instant::now();
        assert_eq!(given(&mut homes, &snapshot(&[(5, 1)]), &[(5, "old")], start), [5]);
        homes.heard_of(&pod("old"), start);
        (homes, start + Duration::from_secs(60))
    }

    #[test]
    fn c5_an_address_alone_gives_no_new_interface() {
        // In either order with the old one's end, and by the old one's number.
        for stages in [vec![vec![(6, 2)]], vec![vec![], vec![(6, 2)]], vec![vec![(5, 2)]]] {
            let (mut homes, now) = at_home();
            for seen in stages {
                let claims: Vec<(u32, &str)> = seen.iter().map(|(it, _)| (*it, "old")).collect();
                assert_eq!(given(&mut homes, &snapshot(&seen), &claims, now), NOBODY, "{seen:?}");
            }
        }
    }

    #[test]
    fn c3_c5_the_next_agent_gives_no_new_interface_for_an_address_alone() {
        let now = Instant::now();
        let known = |uid: &str| {
            let mut cluster = Cluster::default();
            let (id, uid) = (pod("old"), uid.to_owned());
            let pod = Pod {
                id: id.clone(),
                uid,
                labels: BTreeMap::new(),
                node: None,
                addresses: BTreeSet::new(),
                host_network: false,
                finished: false,
                terminating: false,
                ports: BTreeSet::new(),
            };
            cluster.pods.insert(id, pod);
            cluster
        };
        let owner = Some(Owner::Pod(pod("old")));
        let noted = [Inherited { id: 1, ifindex: 5, owner, uid: "first".to_owned() }];
        let seen = snapshot(&[(6, 2)]);
        let resumed = |uid: &str, seen: &Snapshot| {
            let mut homes = PodClaims::default();
            homes.resume(&noted, &known(uid), seen, now);
            homes
        };
        assert_eq!(given(&mut resumed("first", &seen), &seen, &[(6, "old")], now), NOBODY);
        // Another pod of the same name was never at home there.
        assert_eq!(given(&mut resumed("second", &seen), &seen, &[(6, "old")], now), [6]);
        let home = snapshot(&[(5, 1)]);
        assert_eq!(given(&mut resumed("first", &home), &home, &[(5, "old")], now), [5]);
    }

    #[test]
    fn a_pod_may_have_two_interfaces_in_one_namespace_and_lose_either() {
        let (mut homes, now) = at_home();
        let both = snapshot(&[(5, 1), (6, 1)]);
        assert_eq!(given(&mut homes, &both, &[(5, "old"), (6, "old")], now), [5, 6]);
        assert_eq!(given(&mut homes, &snapshot(&[(6, 1)]), &[(6, "old")], now), [6]);
    }

    #[test]
    fn c5_the_same_address_in_another_namespace_is_somebody_elses() {
        let (mut homes, now) = at_home();
        let both = snapshot(&[(5, 1), (6, 2)]);
        assert_eq!(given(&mut homes, &both, &[(5, "old"), (6, "old")], now), [5]);
        homes.heard_of(&pod("old"), now);
        assert_eq!(given(&mut homes, &both, &[(5, "old"), (6, "old")], now), [5, 6]);
    }

    #[test]
    fn c5_a_second_rival_has_to_wait_like_the_first() {
        let (mut homes, now) = at_home();
        let claims = [(5, "old"), (6, "old")];
        assert_eq!(given(&mut homes, &snapshot(&[(5, 1), (6, 2)]), &claims, now), [5]);
        assert_eq!(given(&mut homes, &snapshot(&[(5, 1)]), &claims[..1], now), [5]);
        let later = now + HELD;
        assert_eq!(given(&mut homes, &snapshot(&[(5, 1), (6, 3)]), &claims, later), [5]);
    }

    #[test]
    fn c5_the_next_pod_gets_it_at_once() {
        let (mut homes, now) = at_home();
        let seen = snapshot(&[(6, 2)]);
        assert_eq!(given(&mut homes, &seen, &[(6, "old")], now), NOBODY);
        assert_eq!(given(&mut homes, &seen, &[(6, "new")], now), [6]);
    }

    #[test]
    fn c5_news_of_the_pod_support_its_claim() {
        let seen = snapshot(&[(6, 2)]);
        let (mut homes, now) = at_home();
        assert_eq!(given(&mut homes, &seen, &[(6, "old")], now), NOBODY);
        homes.heard_of(&pod("old"), now);
        assert_eq!(given(&mut homes, &seen, &[(6, "old")], now), [6]);
        // Just before the end was noticed.
        let (mut homes, now) = at_home();
        homes.heard_of(&pod("old"), now);
        assert_eq!(given(&mut homes, &seen, &[(6, "old")], now + NOTICED), [6]);
        // Deleted and made anew under its name.
        let (mut homes, now) = at_home();
        homes.forget(&pod("old"));
        assert_eq!(given(&mut homes, &seen, &[(6, "old")], now), [6]);
    }

    /// Its address was a former pod's, whose interface was still seen when the news came.
    #[test]
    fn c5_news_from_before_the_first_interface_count_too() {
        let mut homes = PodClaims::default();
        let now = Instant::now();
        homes.heard_of(&pod("new"), now);
        assert_eq!(given(&mut homes, &snapshot(&[(5, 1)]), &[(5, "new")], now), [5]);
        let soon = now + NOTICED;
        assert_eq!(given(&mut homes, &snapshot(&[(6, 2)]), &[(6, "new")], soon), [6]);
        let late = soon + 2 * NOTICED;
        assert_eq!(given(&mut homes, &snapshot(&[(7, 3)]), &[(7, "new")], late), NOBODY);
    }

    #[test]
    fn c5_a_pod_that_is_being_deleted_moves_nowhere() {
        let seen = snapshot(&[(6, 2)]);
        let (mut homes, now) = at_home();
        homes.heard_of(&pod("old"), now);
        let mut assignment = claimed(&[(6, "old")]);
        let long = now + 10 * HELD;
        assert_eq!(homes.hold_back(&seen, &mut assignment, |_| true, long), None);
        assert_eq!(homes.held(6), Some(&pod("old")));
        // It keeps what it has, though, and what it is first seen with.
        let (mut homes, now) = at_home();
        let mut assignment = claimed(&[(5, "old"), (7, "unseen")]);
        let seen = snapshot(&[(5, 1), (7, 3)]);
        assert_eq!(homes.hold_back(&seen, &mut assignment, |_| true, now), None);
        assert_eq!(assignment.pods.len(), 2);
    }

    #[test]
    fn c5_a_claim_that_nobody_disputes_holds_after_a_while() {
        let (mut homes, now) = at_home();
        let seen = snapshot(&[(6, 2)]);
        let mut assignment = claimed(&[(6, "old")]);
        let wait = homes.hold_back(&seen, &mut assignment, |_| false, now);
        assert_eq!(wait, Some(HELD));
        assert_eq!(given(&mut homes, &seen, &[(6, "old")], now + HELD), [6]);
    }
}
