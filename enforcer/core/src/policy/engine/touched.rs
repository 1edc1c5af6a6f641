//! What has changed in a cluster.

use std::collections::BTreeSet;

use crate::model::{Change, Cluster, PodId, PolicyId, ServiceId};

/// The objects that may have changed since the last look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Touched {
    /// Pods.
    pub pods: BTreeSet<PodId>,
    /// Namespaces.
    pub namespaces: BTreeSet<String>,
    /// Policies.
    pub policies: BTreeSet<PolicyId>,
    /// Services.
    pub services: BTreeSet<ServiceId>,
}

impl Touched {
    /// All objects of the cluster.
    #[must_use]
    pub fn all(cluster: &Cluster) -> Self {
        Self {
            pods: cluster.pods.keys().cloned().collect(),
            namespaces: cluster.namespaces.keys().cloned().collect(),
            policies: cluster.policies.keys().cloned().collect(),
            services: cluster.services.keys().cloned().collect(),
        }
    }

    /// Notes the object of a change.
    pub fn note(&mut self, change: &Change) {
        match change {
            Change::Namespace(it) => drop(self.namespaces.insert(it.name.clone())),
            Change::NamespaceGone(name) => drop(self.namespaces.insert(name.clone())),
            Change::Pod(it) => drop(self.pods.insert(it.id.clone())),
            Change::PodGone(id) => drop(self.pods.insert(id.clone())),
            Change::Policy(it) => drop(self.policies.insert(it.id.clone())),
            Change::PolicyGone(id) => drop(self.policies.insert(id.clone())),
            Change::Service(it) => drop(self.services.insert(it.id.clone())),
            Change::ServiceGone(id) => drop(self.services.insert(id.clone())),
        }
    }
}
