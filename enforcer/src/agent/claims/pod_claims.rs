//! Claims of pods to interfaces by address: an address alone gives no pod a new interface (semantics
//! C5).
//!
//! When a pod ends, its address may be reused by the next pod before the API reports a change to
//! either. So a pod that lost its interface does not get another one for its address alone. Its claim is
//! accepted when the API reports a change to the pod, as it does when its sandbox is replaced, or
//! after [`HELD`] without a competing claim. A pod that is being deleted gets no other interface: the
//! kubelet creates no sandbox for it any more. A pod that has an interface gets no other one, except of
//! the same network namespace.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::interfaces::{Bound, Interfaces};
use enforcer_core::model::{Cluster, PodId};
use enforcer_core::tables::{Inherited, Owner};

/// How long a claim that nothing else supports is held back.
pub(super) const HELD: Duration = Duration::from_secs(15);
/// A change this much older than the end of an interface may still follow from that end: ends are
/// noticed later than they happen.
const NOTICED: Duration = Duration::from_secs(1);

/// The last interface of a pod.
#[derive(Debug)]
struct Place {
    ifindex: u32,
    identity: u32,
    namespace: i32,
    /// The last change of the pod that was reported.
    changed_at: Option<Instant>,
    /// When the end of the interface was noticed.
    lost_at: Option<Instant>,
}

/// The result of a claim to an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// Granted, because the interface is the pod's first, or because the pod has changed.
    Granted,
    /// Granted, because nothing else claimed it for a while.
    Waited,
    /// For the remaining time; `None`: until the pod loses its present interface, or forever.
    Held(Option<Duration>),
}

/// The last interface of each of this node's pods.
#[derive(Debug, Default)]
pub(super) struct PodClaims {
    places: BTreeMap<PodId, Place>,
}

impl PodClaims {
    /// Takes over the records of an earlier agent. A pod whose interface is gone has lost it
    /// meanwhile: that the API still shows its address is no change to the pod.
    pub(super) fn resume(
        &mut self,
        inherited: &[Inherited],
        cluster: &Cluster,
        interfaces: &Interfaces,
        now: Instant,
    ) {
        for it in inherited {
            let Some(Owner::Pod(pod)) = &it.owner else { continue };
            // The record of a former pod of the same name does not count.
            let same = cluster.pods.get(pod).is_some_and(|pod| pod.uid == it.uid);
            if !same || self.places.get(pod).is_some_and(|place| place.lost_at.is_none()) {
                continue;
            }
            let bound = |bound: &Bound| bound.pod == *pod;
            let found = interfaces.known.get(&it.ifindex);
            let found = found.filter(|found| found.bound.as_ref().is_some_and(bound));
            let place = Place {
                ifindex: it.ifindex,
                identity: found.map(|found| found.identity).unwrap_or_default(),
                namespace: found.map(|found| found.namespace).unwrap_or_default(),
                changed_at: None,
                lost_at: found.is_none().then_some(now),
            };
            self.places.insert(pod.clone(), place);
        }
    }

    /// Notes a change to the pod.
    pub(super) fn changed(&mut self, pod: &PodId, now: Instant) {
        if let Some(place) = self.places.get_mut(pod) {
            place.changed_at = Some(now);
        }
    }

    /// Forgets a pod that is gone.
    pub(super) fn forget(&mut self, pod: &PodId) {
        self.places.remove(pod);
    }

    /// Notes which pods have lost their interface.
    pub(super) fn notice_ends(&mut self, interfaces: &Interfaces, now: Instant) {
        for place in self.places.values_mut() {
            let found = interfaces.known.get(&place.ifindex);
            let is_there = found.is_some_and(|it| it.identity == place.identity);
            place.lost_at = if is_there { None } else { place.lost_at.or(Some(now)) };
        }
    }

    /// Whether the pod has no interface, or one in this network namespace.
    pub(super) fn is_free(&self, pod: &PodId, ifindex: u32, namespace: i32) -> bool {
        let place = self.places.get(pod).filter(|place| place.lost_at.is_none());
        place.is_none_or(|it| it.ifindex == ifindex || it.namespace == namespace)
    }

    /// Notes the interface of a pod that stronger evidence named.
    pub(super) fn place(
        &mut self,
        pod: &PodId,
        ifindex: u32,
        interfaces: &Interfaces,
        now: Instant,
    ) {
        let Some(found) = interfaces.known.get(&ifindex) else { return };
        let (identity, namespace) = (found.identity, found.namespace);
        let changed_at = match self.places.get(pod) {
            // A further interface.
            Some(place) if place.lost_at.is_none() => return,
            Some(place) => place.changed_at,
            // The first interface of a pod is a change to it, which may precede the end of a former
            // pod's interface.
            None => Some(now),
        };
        let place = Place { ifindex, identity, namespace, changed_at, lost_at: None };
        self.places.insert(pod.clone(), place);
    }

    /// Checks the claim of a pod that [`Self::is_free`] to an interface.
    pub(super) fn claim(&self, pod: &PodId, is_terminating: bool, now: Instant) -> Claim {
        let Some(place) = self.places.get(pod) else { return Claim::Granted };
        let Some(lost_at) = place.lost_at else { return Claim::Granted };
        let has_changed = place.changed_at.is_some_and(|it| it + NOTICED >= lost_at);
        let held = now.saturating_duration_since(lost_at);
        if is_terminating {
            Claim::Held(None)
        } else if has_changed {
            Claim::Granted
        } else if held < HELD {
            Claim::Held(Some(HELD - held))
        } else {
            Claim::Waited
        }
    }
}
