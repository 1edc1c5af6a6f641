//! Which pods policies protect, and which policies have no effect.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_ebpf::contract::verdict::Direction;

use super::audit::in_audit;
use super::connection::{isolating, rules};
use super::rule::{PeerRef, RuleRef};
use crate::model::{Cluster, Labels, Namespace, Peer, Pod, PodId, Policy, PolicyId};

/// The policies that isolate a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// The pod.
    pub pod: PodId,
    /// Why no policy can apply to the pod (semantics S1), if so.
    pub exempt: Option<&'static str>,
    /// For ingress.
    pub ingress: Vec<PolicyId>,
    /// For egress.
    pub egress: Vec<PolicyId>,
    /// Those that would, were they not in audit.
    pub audit: BTreeSet<PolicyId>,
}

/// A namespace's protection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    /// The namespace.
    pub namespace: String,
    /// Its policies.
    pub policies: usize,
    /// Those in audit.
    pub audit: usize,
    /// Pods to which policies can apply (semantics S1).
    pub pods: usize,
    /// Those that are isolated for ingress.
    pub ingress: usize,
    /// Those that are isolated for egress.
    pub egress: usize,
    /// Pods that are isolated in no direction.
    pub unprotected: Vec<PodId>,
    /// Pods to which no policy can apply, and why.
    pub exempt: Vec<(PodId, &'static str)>,
}

/// A policy, or a part of one, that has no effect at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unused {
    /// The policy selects no pod.
    Policy(PolicyId),
    /// The entry of `from` or `to` matches no pod.
    Peer(RuleRef, PeerRef),
}

/// The protection of a pod.
#[must_use]
pub fn protection(cluster: &Cluster, pod: &Pod) -> Protection {
    let of = |direction| isolating(cluster, &pod.id, direction).map(|it| it.id.clone()).collect();
    let audit = Direction::ALL.into_iter().flat_map(|it| in_audit(cluster, &pod.id, it));
    Protection {
        pod: pod.id.clone(),
        exempt: exempt(pod),
        ingress: of(Direction::Ingress),
        egress: of(Direction::Egress),
        audit: audit.cloned().collect(),
    }
}

fn exempt(pod: &Pod) -> Option<&'static str> {
    if pod.host_network {
        Some("it uses the host's network")
    } else if pod.finished {
        Some("it is finished")
    } else if pod.addresses.is_empty() {
        Some("it has no address yet")
    } else {
        None
    }
}

/// The protection of every namespace.
#[must_use]
pub fn coverage(cluster: &Cluster) -> Vec<Coverage> {
    let mut found: BTreeMap<&str, Coverage> = BTreeMap::new();
    let names = cluster.namespaces.keys().map(String::as_str);
    let names = names.chain(cluster.pods.keys().map(|it| it.namespace.as_str()));
    for name in names.chain(cluster.policies.keys().map(|it| it.namespace.as_str())) {
        name.clone_into(&mut found.entry(name).or_default().namespace);
    }
    for (id, policy) in &cluster.policies {
        let it = found.entry(&id.namespace).or_default();
        it.policies += 1;
        it.audit += usize::from(cluster.is_in_audit(policy));
    }
    for pod in cluster.pods.values() {
        let it = found.entry(&pod.id.namespace).or_default();
        if let Some(why) = exempt(pod) {
            it.exempt.push((pod.id.clone(), why));
            continue;
        }
        let protection = protection(cluster, pod);
        it.pods += 1;
        it.ingress += usize::from(!protection.ingress.is_empty());
        it.egress += usize::from(!protection.egress.is_empty());
        if protection.ingress.is_empty() && protection.egress.is_empty() {
            it.unprotected.push(pod.id.clone());
        }
    }
    found.into_values().collect()
}

/// The policies that select no pod, and the entries of the others that match no pod. Blocks are not
/// considered: any address may be in use outside of the cluster.
#[must_use]
pub fn unused(cluster: &Cluster) -> Vec<Unused> {
    let mut found = Vec::new();
    for policy in cluster.policies.values() {
        let selects = |pod: &&Pod| {
            pod.id.namespace == policy.id.namespace
                && exempt(pod).is_none()
                && policy.subjects.matches(&pod.labels)
        };
        if !cluster.pods.values().any(|pod| selects(&pod)) {
            found.push(Unused::Policy(policy.id.clone()));
            continue;
        }
        for direction in Direction::ALL {
            let rules = rules(policy, direction).into_iter().flatten().enumerate();
            for (index, rule) in rules {
                for (number, peer) in rule.peers.iter().enumerate() {
                    if is_unmatched(cluster, policy, peer) {
                        let rule = RuleRef { policy: policy.id.clone(), direction, index };
                        found.push(Unused::Peer(rule, PeerRef { index: number, field: None }));
                    }
                }
            }
        }
    }
    found
}

fn is_unmatched(cluster: &Cluster, policy: &Policy, peer: &Peer) -> bool {
    let Peer::Pods { namespaces, pods } = peer else { return false };
    let scope: BTreeSet<&str> = match namespaces {
        None => BTreeSet::from([policy.id.namespace.as_str()]),
        Some(selector) => {
            let names = cluster.pods.keys().map(|it| it.namespace.as_str());
            let names: BTreeSet<&str> = names.collect();
            let labels = |name: &str| match cluster.namespaces.get(name) {
                Some(namespace) => namespace.labels.clone(),
                None => Namespace::new(name, Labels::new()).labels,
            };
            names.into_iter().filter(|name| selector.matches(&labels(name))).collect()
        }
    };
    let mut peers = cluster.pods.values().filter(|pod| pod.is_peer());
    !peers.any(|pod| scope.contains(pod.id.namespace.as_str()) && pods.matches(&pod.labels))
}
