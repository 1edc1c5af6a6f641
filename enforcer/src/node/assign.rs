//! Assigning pods to interfaces.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use enforcer_core::model::{Pod, PodId};

/// The pods behind a node's interfaces. Each interface is in at most one of the three fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// The pod behind each interface, by the index of the host side.
    pub pods: BTreeMap<u32, PodId>,
    /// Interfaces that no pod claims.
    pub unknown: BTreeSet<u32>,
    /// Interfaces that several pods claim with equal rank. None of them gets it: a reused address
    /// must not give a pod the previous pod's permissions (semantics C5).
    pub ambiguous: BTreeMap<u32, Vec<PodId>>,
    /// Those of `ambiguous` that have different pods' addresses. No CNI plugin makes such an interface.
    pub split: BTreeSet<u32>,
}

/// Assigns the pods of the node `node_name` to its interfaces, given the addresses of each. `pods_at`
/// returns all pods with an address.
///
/// A pod claims an interface if they share an address. Pods of other nodes, host-network and
/// finished pods claim none (semantics S1). A pod that is being deleted can't claim by an address
/// that another pod has, which is not being deleted. Pods that are known to be on this node precede
/// pods whose node is unknown; among these, the pod that shares the most addresses precedes.
#[must_use]
pub fn assign<'a>(
    interfaces: &BTreeMap<u32, BTreeSet<IpAddr>>,
    pods_at: impl Fn(&IpAddr) -> Vec<&'a Pod>,
    node_name: &str,
) -> Assignment {
    let addresses: BTreeSet<&IpAddr> = interfaces.values().flatten().collect();
    let owners = addresses.into_iter().map(|it| (*it, owners(pods_at(it), node_name))).collect();
    let mut assignment = Assignment::default();
    for (&ifindex, addresses) in interfaces {
        let claims = claims(addresses, &owners, node_name);
        let mut best = best(&claims);
        match best.len() {
            0 => {
                assignment.unknown.insert(ifindex);
            }
            1 => assignment.pods.extend(best.pop().map(|pod| (ifindex, pod))),
            _ => {
                if is_split(addresses, &owners, &best) {
                    assignment.split.insert(ifindex);
                }
                assignment.ambiguous.insert(ifindex, best);
            }
        }
    }
    assignment
}

/// Whether no address is of all these pods.
fn is_split(addresses: &BTreeSet<IpAddr>, owners: &Owners<'_>, pods: &[PodId]) -> bool {
    let has_all = |its: &Vec<&Pod>| pods.iter().all(|pod| its.iter().any(|it| it.id == *pod));
    !addresses.iter().filter_map(|it| owners.get(it)).any(has_all)
}

type Owners<'a> = BTreeMap<IpAddr, Vec<&'a Pod>>;

/// Those of an address's pods that may be on this node. An address that was reassigned belongs to the
/// pod that is not being deleted (semantics C5), on whatever node.
fn owners<'a>(mut pods: Vec<&'a Pod>, node_name: &str) -> Vec<&'a Pod> {
    pods.retain(|pod| pod.is_peer());
    let is_passed_on = pods.iter().any(|pod| !pod.terminating);
    pods.retain(|pod| {
        let is_here = pod.node.as_deref().is_none_or(|node| node == node_name);
        is_here && !(is_passed_on && pod.terminating)
    });
    pods
}

/// The rank of a pod's claim; the best is the smallest.
type Rank = (Reverse<bool>, Reverse<usize>);

fn claims<'a>(
    addresses: &BTreeSet<IpAddr>,
    owners: &Owners<'a>,
    node_name: &str,
) -> BTreeMap<&'a PodId, Rank> {
    let mut claims: BTreeMap<&PodId, Rank> = BTreeMap::new();
    for pod in addresses.iter().filter_map(|it| owners.get(it)).flatten() {
        let on_node = pod.node.as_deref() == Some(node_name);
        let (_, shared) = claims.entry(&pod.id).or_insert((Reverse(on_node), Reverse(0)));
        shared.0 += 1;
    }
    claims
}

/// The pods with the best claim, sorted.
fn best(claims: &BTreeMap<&PodId, Rank>) -> Vec<PodId> {
    let Some(best) = claims.values().min() else { return Vec::new() };
    let winners = claims.iter().filter(|(_, rank)| *rank == best);
    winners.map(|(pod, _)| (*pod).clone()).collect()
}

#[cfg(test)]
mod tests;
