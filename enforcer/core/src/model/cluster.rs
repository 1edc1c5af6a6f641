//! The state that sources fill and the compiler reads.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Namespace, Pod, PodId, Policy, PolicyId, Service, ServiceId};

/// Everything that policy depends on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cluster {
    /// Namespaces by name.
    pub namespaces: BTreeMap<String, Namespace>,
    /// Pods.
    pub pods: BTreeMap<PodId, Pod>,
    /// Policies.
    pub policies: BTreeMap<PolicyId, Policy>,
    /// Services.
    pub services: BTreeMap<ServiceId, Service>,
    /// This node's own addresses (semantics A2).
    pub node_addresses: BTreeSet<IpAddr>,
}

/// A small change to the cluster's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A namespace is there, or changed.
    Namespace(Namespace),
    /// A namespace is gone.
    NamespaceGone(String),
    /// A pod is there, or changed.
    Pod(Pod),
    /// A pod is gone.
    PodGone(PodId),
    /// A policy is there, or changed.
    Policy(Policy),
    /// A policy is gone.
    PolicyGone(PolicyId),
    /// A service is there, or changed.
    Service(Service),
    /// A service is gone.
    ServiceGone(ServiceId),
}

impl Cluster {
    /// Applies a change; returns whether anything is different now.
    pub fn apply(&mut self, change: Change) -> bool {
        match change {
            Change::Namespace(it) => put(&mut self.namespaces, it.name.clone(), it),
            Change::NamespaceGone(name) => self.namespaces.remove(&name).is_some(),
            Change::Pod(it) => put(&mut self.pods, it.id.clone(), it),
            Change::PodGone(id) => self.pods.remove(&id).is_some(),
            Change::Policy(it) => put(&mut self.policies, it.id.clone(), it),
            Change::PolicyGone(id) => self.policies.remove(&id).is_some(),
            Change::Service(it) => put(&mut self.services, it.id.clone(), it),
            Change::ServiceGone(id) => self.services.remove(&id).is_some(),
        }
    }
}

impl Cluster {
    /// Addresses that a pod which is being deleted has, and another one, which is not, has as well:
    /// they are the latter's. An address is given away only when its former pod's interface is gone
    /// (semantics C5).
    #[must_use]
    pub fn passed_on(&self) -> BTreeSet<IpAddr> {
        let (ending, staying): (Vec<&Pod>, Vec<&Pod>) =
            self.pods.values().filter(|pod| pod.is_peer()).partition(|pod| pod.terminating);
        let ending: BTreeSet<IpAddr> =
            ending.iter().flat_map(|pod| &pod.addresses).copied().collect();
        if ending.is_empty() {
            return ending;
        }
        let staying = staying.iter().flat_map(|pod| &pod.addresses);
        staying.filter(|address| ending.contains(address)).copied().collect()
    }
}

fn put<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, V>, key: K, value: V) -> bool {
    if map.get(&key) == Some(&value) {
        return false;
    }
    map.insert(key, value);
    true
}
