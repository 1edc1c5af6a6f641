//! Which pod each interface belongs to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::interfaces::{Bound, Evidence, Interface, Interfaces};
use super::pod_claims::{Claim, PodClaims};
use super::records::Records;
use crate::agent::pod_addresses::PodAddresses;
use crate::node::{Assignment, PodInterface, Snapshot, assign};
use enforcer_core::model::{Cluster, Pod, PodId, Sandbox, same_uid};
use enforcer_core::tables::{self, Inherited, Owner};

/// The knowledge that evidence comes from, besides the node's interfaces.
#[derive(Debug, Clone, Copy)]
pub(in crate::agent) struct World<'a> {
    /// The cluster's state.
    pub(in crate::agent) cluster: &'a Cluster,
    /// Its pods by address.
    pub(in crate::agent) addresses: &'a PodAddresses,
    /// The container runtime's sandboxes.
    pub(in crate::agent) sandboxes: &'a [&'a Sandbox],
    /// This node's name.
    pub(in crate::agent) node_name: &'a str,
}

/// The result of [`Bindings::assign`].
#[derive(Debug, Default)]
pub(in crate::agent) struct Known {
    /// The pods behind the interfaces.
    pub(in crate::agent) assignment: Assignment,
    /// Pods that are new behind their interfaces, and for how long these have waited.
    pub(in crate::agent) waited: Vec<(PodId, Duration)>,
    /// When to check again, if time alone releases a claim.
    pub(in crate::agent) again: Option<Duration>,
}

/// The interfaces that lead to pods, and the pod that each belongs to.
#[derive(Debug, Default)]
pub(in crate::agent) struct Bindings {
    interfaces: Interfaces,
    claims: PodClaims,
    /// The interfaces that are closed until a claim to them is decided, and a pod that claims each.
    held: BTreeMap<u32, PodId>,
}

impl Bindings {
    /// Takes over the bindings of an earlier agent.
    pub(in crate::agent) fn resume(
        &mut self,
        inherited: &[Inherited],
        snapshot: &Snapshot,
        cluster: &Cluster,
        now: Instant,
    ) {
        self.interfaces.resume(inherited, snapshot);
        self.claims.resume(inherited, cluster, &self.interfaces, now);
    }

    /// Notes a change to the pod.
    pub(in crate::agent) fn changed(&mut self, pod: &PodId, now: Instant) {
        self.claims.changed(pod, now);
    }

    /// Forgets a pod that is gone. Its interface stays bound to it.
    pub(in crate::agent) fn forget(&mut self, pod: &PodId) {
        self.claims.forget(pod);
    }

    /// Finds the pod behind each interface. Corrects the snapshot where an interface's role is known.
    pub(in crate::agent) fn assign(
        &mut self,
        snapshot: &mut Snapshot,
        world: World<'_>,
        now: Instant,
    ) -> Known {
        self.interfaces.see(snapshot);
        self.claims.notice_ends(&self.interfaces, now);
        self.held.clear();
        let records = Records::new(world.sandboxes.iter().copied(), snapshot);
        let mut open = BTreeMap::new();
        for veth in snapshot.veths() {
            let Some(interface) = self.interfaces.known.get_mut(&veth.ifindex) else { continue };
            let recorded = records.of(veth, interface);
            by_record(veth, interface, &recorded, world);
            if interface.needs_address() && recorded.is_empty() {
                open.insert(veth.ifindex, interface.own().clone());
            }
        }
        for (ifindex, it) in &self.interfaces.known {
            if let Some(bound) = it.bound.as_ref().filter(|it| it.by > Evidence::Waited) {
                self.claims.place(&bound.pod, *ifindex, &self.interfaces, now);
            }
        }
        let again = self.by_address(&open, world, now);
        let assignment = self.assignment(snapshot, world);
        let waited = self.note_waits(&assignment, now);
        Known { assignment, waited, again }
    }

    /// Binds interfaces by their addresses. Returns when to check again.
    fn by_address(
        &mut self,
        open: &BTreeMap<u32, BTreeSet<IpAddr>>,
        world: World<'_>,
        now: Instant,
    ) -> Option<Duration> {
        let pods_at = |address: &IpAddr| world.addresses.pods(address, world.cluster);
        let claimed = assign(open, pods_at, world.node_name);
        for (ifindex, pods) in &claimed.ambiguous {
            self.held.extend(pods.first().map(|pod| (*ifindex, pod.clone())));
            if claimed.split.contains(ifindex) {
                self.close(*ifindex, pods.iter().cloned().collect());
            }
        }
        let mut wait: Option<Duration> = None;
        let mut granted: BTreeMap<&PodId, Vec<(u32, Evidence)>> = BTreeMap::new();
        for (ifindex, pod) in &claimed.pods {
            let evidence = match self.claim(*ifindex, pod, world, now) {
                Claim::Granted => Evidence::Address,
                Claim::Waited => Evidence::Waited,
                Claim::Held(left) => {
                    self.held.insert(*ifindex, pod.clone());
                    wait = wait.into_iter().chain(left).min();
                    continue;
                }
            };
            granted.entry(pod).or_default().push((*ifindex, evidence));
        }
        for (pod, list) in granted {
            self.grant(pod, &list, world, now);
        }
        wait
    }

    fn claim(&self, ifindex: u32, pod: &PodId, world: World<'_>, now: Instant) -> Claim {
        let Some(interface) = self.interfaces.known.get(&ifindex) else { return Claim::Held(None) };
        if !self.claims.is_free(pod, ifindex, interface.namespace) {
            return Claim::Held(None);
        }
        let is_terminating = world.cluster.pods.get(pod).is_some_and(|it| it.terminating);
        self.claims.claim(pod, is_terminating, now)
    }

    /// Gives the pod these interfaces, unless at most one of them can be its own.
    fn grant(&mut self, pod: &PodId, list: &[(u32, Evidence)], world: World<'_>, now: Instant) {
        let known = &mut self.interfaces.known;
        let namespaces = list.iter().filter_map(|(ifindex, _)| known.get(ifindex));
        let namespaces: BTreeSet<i32> = namespaces.map(|it| it.namespace).collect();
        if namespaces.len() > 1 {
            for (ifindex, _) in list {
                self.close(*ifindex, BTreeSet::from([pod.clone()]));
            }
            return;
        }
        let uid = world.cluster.pods.get(pod).map(|it| it.uid.to_string()).unwrap_or_default();
        for (ifindex, by) in list {
            let Some(interface) = known.get_mut(ifindex) else { continue };
            // One that has waited is reconsidered, not confirmed by its own binding.
            if interface.bound.as_ref().is_none_or(|it| it.pod != *pod) {
                let (pod, uid) = (pod.clone(), uid.clone());
                interface.bound = Some(Bound { pod, uid, by: *by, ended: false });
            }
        }
        for (ifindex, _) in list {
            self.claims.place(pod, *ifindex, &self.interfaces, now);
        }
    }

    fn close(&mut self, ifindex: u32, pods: BTreeSet<PodId>) {
        if let Some(interface) = self.interfaces.known.get_mut(&ifindex) {
            interface.close(ifindex, pods);
        }
    }

    fn assignment(&self, snapshot: &Snapshot, world: World<'_>) -> Assignment {
        let mut assignment = Assignment::default();
        for (ifindex, it) in &self.interfaces.known {
            if let Some(doubt) = &it.doubt {
                assignment.ambiguous.insert(*ifindex, doubt.iter().cloned().collect());
                continue;
            }
            match it.bound.as_ref().filter(|it| is_live(it, world)) {
                Some(bound) => {
                    assignment.pods.insert(*ifindex, bound.pod.clone());
                }
                None if snapshot.interfaces.contains_key(ifindex) || it.bound.is_some() => {
                    assignment.unknown.insert(*ifindex);
                }
                None => {}
            }
        }
        assignment
    }

    fn note_waits(&mut self, assignment: &Assignment, now: Instant) -> Vec<(PodId, Duration)> {
        let mut waited = Vec::new();
        for (ifindex, it) in &mut self.interfaces.known {
            if let Some(pod) = assignment.pods.get(ifindex) {
                let since = it.waiting.take();
                waited.extend(since.map(|since| (pod.clone(), now.duration_since(since))));
            } else if it.bound.is_none() {
                it.waiting.get_or_insert(now);
            }
        }
        waited
    }

    /// The interfaces that lead to a pod, but to none that is known.
    pub(in crate::agent) fn podless(&self, assignment: &Assignment) -> BTreeSet<u32> {
        let known = self.interfaces.known.keys();
        known.filter(|ifindex| !assignment.pods.contains_key(ifindex)).copied().collect()
    }

    /// An interface that [`Self::podless`] lists, for the tables. With conflicting evidence, none of the
    /// addresses inside is its own: nothing is addressed to it, and it may send nothing.
    pub(in crate::agent) fn without_pod(
        &self,
        ifindex: u32,
        closed: bool,
        snapshot: &Snapshot,
    ) -> tables::Interface {
        let (owner, uid) = self.owner(ifindex, closed);
        let doubted = self.interfaces.known.get(&ifindex).is_some_and(|it| it.doubt.is_some());
        let seen = snapshot.interfaces.get(&ifindex).filter(|_| !doubted);
        let addresses = seen.map(|it| it.addresses.clone()).unwrap_or_default();
        let identity = self.identity(ifindex);
        tables::Interface { owner, uid, identity, addresses, check_source: doubted }
    }

    /// The owner of an interface that [`Self::podless`] lists, and the owner's UID.
    pub(in crate::agent) fn owner(&self, ifindex: u32, closed: bool) -> (Owner, String) {
        let known = self.interfaces.known.get(&ifindex);
        let bound = known.and_then(|it| it.bound.as_ref());
        if let Some(bound) = bound {
            return (Owner::Gone(bound.pod.clone()), bound.uid.clone());
        }
        let doubted = known.and_then(|it| it.doubt.as_ref()?.first());
        let owner = match doubted.or_else(|| self.held.get(&ifindex)) {
            Some(pod) => Owner::Gone(pod.clone()),
            None => Owner::Unknown { closed },
        };
        (owner, String::new())
    }

    /// The identity of an interface, for the next agent.
    pub(in crate::agent) fn identity(&self, ifindex: u32) -> u32 {
        self.interfaces.known.get(&ifindex).map(|it| it.identity).unwrap_or_default()
    }

    /// Whether a record of the runtime has named an interface of this node.
    pub(in crate::agent) fn has_recorded(&self) -> bool {
        let bound = |it: &Interface| it.bound.as_ref().is_some_and(|it| it.by == Evidence::Record);
        self.interfaces.known.values().any(bound)
    }
}

impl Interface {
    /// Whether an address may bind the interface.
    fn needs_address(&self) -> bool {
        let is_weak = self.bound.as_ref().is_none_or(|it| it.by == Evidence::Waited);
        self.doubt.is_none() && is_weak
    }

    /// Closes the interface because of conflicting evidence.
    fn close(&mut self, ifindex: u32, pods: BTreeSet<PodId>) {
        if self.doubt.is_none() {
            tracing::error!(
                ifindex,
                ?pods,
                "closed: the evidence for the interface's pod conflicts"
            );
        }
        self.doubt = Some(pods);
    }
}

/// Binds an interface by the runtime's records that name it. Only pods that the API knows count.
fn by_record(
    veth: &PodInterface,
    interface: &mut Interface,
    records: &[&Sandbox],
    world: World<'_>,
) {
    let live = |it: &&&Sandbox| live_pod(&it.pod, &it.uid, world).is_some();
    let mut named: BTreeMap<&PodId, &Pod> = BTreeMap::new();
    for record in records.iter().filter(live) {
        named.extend(live_pod(&record.pod, &record.uid, world).map(|pod| (&record.pod, pod)));
    }
    // The record of a pod that is being deleted may outlive its interface.
    if named.values().any(|pod| !pod.terminating) {
        named.retain(|_, pod| !pod.terminating);
    }
    let bound = interface.bound.as_ref().filter(|it| it.by == Evidence::Record);
    let bound = bound.filter(|it| is_live(it, world)).map(|it| it.pod.clone());
    let all: BTreeSet<PodId> = named.keys().copied().cloned().chain(bound.clone()).collect();
    if all.len() > 1 {
        interface.close(veth.ifindex, all);
    } else if let Some((pod, known)) = named.first_key_value().filter(|_| bound.is_none()) {
        let before = interface.bound.as_ref().map(|it| &it.pod).filter(|it| it != pod);
        if let Some(before) = before {
            tracing::warn!(interface = %veth.name, %pod, %before, "the runtime's record corrects a binding");
        }
        let (pod, uid) = ((*pod).clone(), known.uid.to_string());
        interface.bound = Some(Bound { pod, uid, by: Evidence::Record, ended: false });
        interface.doubt = None;
    }
}

fn is_live(bound: &Bound, world: World<'_>) -> bool {
    !bound.ended && live_pod(&bound.pod, &bound.uid, world).is_some()
}

/// The pod that policy applies to on this node (semantics S1).
fn live_pod<'a>(id: &PodId, uid: &str, world: World<'a>) -> Option<&'a Pod> {
    let pod = world.cluster.pods.get(id)?;
    let is_here = pod.node.as_deref().is_none_or(|node| node == world.node_name);
    let is_subject = pod.is_peer() && !pod.addresses.is_empty();
    (is_here && is_subject && same_uid(&pod.uid, uid)).then_some(pod)
}

#[cfg(test)]
mod tests;
