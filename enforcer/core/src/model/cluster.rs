//! The cluster's state, which sources fill and the compiler reads.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::id::{PodId, PolicyId, ServiceId};
use super::pod::{DenyWith, Namespace, Pod};
use super::policy::Policy;
use super::pool::Pool;
use super::service::Service;

/// Everything on which policy depends.
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
    /// What objects share; no part of the state.
    pub pool: Pool,
    /// All policies are in audit.
    pub audit: bool,
    /// What denied packets get where a namespace does not set it.
    pub deny_with: DenyWith,
}

/// Which policies count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum View {
    /// Those that are enforced: all but those in audit.
    #[default]
    Enforced,
    /// All of them, as if none were in audit.
    WouldBe,
}

/// A change of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A namespace was added or changed.
    Namespace(Namespace),
    /// A namespace was deleted.
    NamespaceGone(String),
    /// A pod was added or changed.
    Pod(Pod),
    /// A pod was deleted.
    PodGone(PodId),
    /// A policy was added or changed.
    Policy(Policy),
    /// A policy was deleted.
    PolicyGone(PolicyId),
    /// A service was added or changed.
    Service(Service),
    /// A service was deleted.
    ServiceGone(ServiceId),
}

impl Cluster {
    /// Applies a change. Returns whether the state is different now.
    pub fn apply(&mut self, mut change: Change) -> bool {
        self.share(&mut change);
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

    /// A cluster of the same node with the same settings, and no objects: what a part or a copy of it begins with.
    #[must_use]
    pub fn without_objects(&self) -> Self {
        // Each field is named, so that a new setting can't be forgotten.
        Self {
            namespaces: BTreeMap::new(),
            pods: BTreeMap::new(),
            policies: BTreeMap::new(),
            services: BTreeMap::new(),
            node_addresses: self.node_addresses.clone(),
            pool: Pool::default(),
            audit: self.audit,
            deny_with: self.deny_with,
        }
    }

    /// Whether the policy is in audit, by its own annotation, its namespace's, or the agent's flag: it
    /// isolates no pod and allows nothing.
    #[must_use]
    pub fn is_in_audit(&self, policy: &Policy) -> bool {
        let namespace = || self.namespaces.get(policy.id.namespace.as_str());
        self.audit || policy.audit || namespace().is_some_and(|it| it.audit)
    }

    /// What the sender of a packet gets that a policy of the namespace denies.
    #[must_use]
    pub fn denies_with(&self, namespace: &str) -> DenyWith {
        self.namespaces.get(namespace).and_then(|it| it.deny_with).unwrap_or(self.deny_with)
    }

    /// Whether the policy counts in this view.
    #[must_use]
    pub fn counts(&self, policy: &Policy, view: View) -> bool {
        match view {
            View::Enforced => !self.is_in_audit(policy),
            View::WouldBe => true,
        }
    }

    /// Lets a pod that is about to be applied share its names, labels and ports with those of other
    /// pods, so that copies made of it until then share them, too.
    pub fn share(&mut self, change: &mut Change) {
        match change {
            Change::Pod(pod) => {
                self.pool.share(pod);
                if let Some((id, known)) = self.pods.get_key_value(&pod.id) {
                    pod.id.clone_from(id);
                    if pod.addresses == known.addresses {
                        pod.addresses.clone_from(&known.addresses);
                    }
                }
            }
            Change::PodGone(id) => self.pool.share_name(&mut id.namespace),
            _ => {}
        }
    }

    /// Stores the pods densely. Those of a list arrive in the order of their names, which leaves nearly half
    /// of each node of the map free.
    pub fn compact(&mut self) {
        self.pods = std::mem::take(&mut self.pods).into_iter().collect();
    }

    /// The addresses that have been reassigned: a pod that is being deleted and another pod that is
    /// not both have them. They belong to the latter, because an address is reassigned only after
    /// the interface of its former pod has been removed (semantics C5).
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
