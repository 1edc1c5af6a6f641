//! Assigning pods to interfaces.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{PodInterface, Snapshot};
use enforcer_core::model::{Cluster, Pod, PodId};

/// The pods behind a node's interfaces. Each pod interface is in exactly one of the three fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// The pod behind each interface, by the index of the host side.
    pub pods: BTreeMap<u32, PodId>,
    /// Interfaces that no pod claims.
    pub unknown: BTreeSet<u32>,
    /// Interfaces that several pods claim with equal rank. None of them gets it: a reused address
    /// must not give a pod the previous pod's permissions (semantics C5).
    pub ambiguous: BTreeMap<u32, Vec<PodId>>,
}

/// Assigns the pods of the node `node_name` to its interfaces.
///
/// A pod claims an interface if they share an address. Pods of other nodes, host-network and
/// finished pods claim none (semantics S1). A pod that is being deleted can't claim by an address
/// that another pod has, which is not being deleted. Pods that are known to be on this node precede
/// pods whose node is unknown; among these, the pod that shares the most addresses precedes.
#[must_use]
pub fn assign(snapshot: &Snapshot, cluster: &Cluster, node_name: &str) -> Assignment {
    let owners = owners(cluster, node_name);
    let mut assignment = Assignment::default();
    for (&ifindex, interface) in &snapshot.interfaces {
        let mut best = best(&claims(interface, &owners, node_name));
        match best.len() {
            0 => {
                assignment.unknown.insert(ifindex);
            }
            1 => assignment.pods.extend(best.pop().map(|pod| (ifindex, pod))),
            _ => {
                assignment.ambiguous.insert(ifindex, best);
            }
        }
    }
    assignment
}

type Owners<'a> = BTreeMap<IpAddr, Vec<&'a Pod>>;

/// The pods that may be on this node, by address.
fn owners<'a>(cluster: &'a Cluster, node_name: &str) -> Owners<'a> {
    let mut owners = Owners::new();
    let passed_on = cluster.passed_on();
    let here = |pod: &&Pod| pod.node.as_deref().is_none_or(|node| node == node_name);
    for pod in cluster.pods.values().filter(|pod| pod.is_peer()).filter(here) {
        let own = |it: &&IpAddr| !pod.terminating || !passed_on.contains(*it);
        for address in pod.addresses.iter().filter(own) {
            owners.entry(*address).or_default().push(pod);
        }
    }
    owners
}

/// The rank of a pod's claim; the best is the smallest.
type Rank = (Reverse<bool>, Reverse<usize>);

fn claims<'a>(
    interface: &PodInterface,
    owners: &Owners<'a>,
    node_name: &str,
) -> BTreeMap<&'a PodId, Rank> {
    let mut claims: BTreeMap<&PodId, Rank> = BTreeMap::new();
    for pod in interface.addresses.iter().filter_map(|it| owners.get(it)).flatten() {
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
