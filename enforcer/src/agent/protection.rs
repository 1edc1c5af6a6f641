//! The policies that isolate this node's pods, for status and metrics.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use enforcer_core::explain::{self, Workload};
use enforcer_core::model::{Change, Cluster, Labels, PodId, PolicyId};

use crate::observe::PodProtection;

/// The policies of each pod of this node. A change of a pod costs a look at this pod's policies, a
/// change of a policy one at the pods of its namespace.
#[derive(Debug, Default)]
pub(super) struct Protection {
    known: BTreeMap<PodId, Arc<PodProtection>>,
    changed_pods: BTreeSet<PodId>,
    changed_namespaces: BTreeSet<String>,
}

impl Protection {
    /// Notes a change of the cluster.
    pub(super) fn note(&mut self, change: &Change) {
        match change {
            Change::Pod(pod) if self.known.contains_key(&pod.id) => {
                self.changed_pods.insert(pod.id.clone());
            }
            Change::Policy(policy) => {
                self.changed_namespaces.insert(policy.id.namespace.to_string());
            }
            Change::PolicyGone(id) => {
                self.changed_namespaces.insert(id.namespace.to_string());
            }
            // It may put its policies in audit.
            Change::Namespace(it) => drop(self.changed_namespaces.insert(it.name.clone())),
            Change::NamespaceGone(name) => drop(self.changed_namespaces.insert(name.clone())),
            _ => {}
        }
    }

    /// Brings the pods `local` up to date.
    pub(super) fn update(&mut self, cluster: &Cluster, local: &BTreeSet<PodId>) {
        let (pods, namespaces) =
            (std::mem::take(&mut self.changed_pods), std::mem::take(&mut self.changed_namespaces));
        self.known.retain(|id, _| {
            local.contains(id) && !pods.contains(id) && !namespaces.contains(id.namespace.as_str())
        });
        // Pods of one namespace with equal labels have the same policies.
        let mut alike: HashMap<(&str, &Labels), [Vec<String>; 3]> = HashMap::new();
        for pod in local.iter().filter_map(|id| cluster.pods.get(id)) {
            let is_subject = pod.is_peer() && !pod.addresses.is_empty();
            if !is_subject || self.known.contains_key(&pod.id) {
                continue;
            }
            let key = (pod.id.namespace.as_str(), &pod.labels);
            let [ingress, egress, audit] = alike.entry(key).or_insert_with(|| {
                let protection = explain::protection(cluster, pod);
                let audit: Vec<PolicyId> = protection.audit.into_iter().collect();
                [names(&protection.ingress), names(&protection.egress), names(&audit)]
            });
            let protection = PodProtection {
                workload: Workload::of(pod),
                ingress: ingress.clone(),
                egress: egress.clone(),
                audit: audit.clone(),
            };
            self.known.insert(pod.id.clone(), Arc::new(protection));
        }
    }

    /// The policies of each pod, as of the last update.
    pub(super) fn pods(&self) -> BTreeMap<PodId, Arc<PodProtection>> {
        self.known.clone()
    }
}

fn names(policies: &[PolicyId]) -> Vec<String> {
    policies.iter().map(PolicyId::to_string).collect()
}

#[cfg(test)]
mod tests {
    use enforcer_core::model::{Pod, Policy, Selector};

    use super::*;

    fn cluster() -> Cluster {
        let mut cluster = Cluster::default();
        for (name, address) in [("a", [10, 0, 0, 1]), ("b", [10, 0, 0, 2])] {
            let id = PodId::new("shop", name);
            cluster.apply(Change::Pod(Pod { addresses: [address.into()].into(), ..Pod::new(id) }));
        }
        cluster
    }

    fn deny(namespace: &str) -> Change {
        Change::Policy(Policy {
            id: PolicyId::new(namespace, "deny"),
            subjects: Selector::default(),
            ingress: Some(Vec::new()),
            egress: None,
            audit: false,
        })
    }

    #[test]
    fn changes_of_policies_and_pods_are_followed() {
        let (mut cluster, mut protection) = (cluster(), Protection::default());
        let local: BTreeSet<PodId> = cluster.pods.keys().cloned().collect();
        let mut change = |change: Change, local: &BTreeSet<PodId>| {
            protection.note(&change);
            cluster.apply(change);
            protection.update(&cluster, local);
            let pods = protection.pods();
            pods.values().map(|it| it.ingress.len()).collect::<Vec<_>>()
        };
        assert_eq!(change(Change::NamespaceGone("x".to_owned()), &local), [0, 0]);
        assert_eq!(change(deny("elsewhere"), &local), [0, 0]);
        assert_eq!(change(deny("shop"), &local), [1, 1]);
        let finished = Pod { finished: true, ..Pod::new(PodId::new("shop", "a")) };
        assert_eq!(change(Change::Pod(finished), &local), [1]);
        assert_eq!(change(Change::PolicyGone(PolicyId::new("shop", "deny")), &local), [0]);
        assert_eq!(change(deny("shop"), &BTreeSet::new()), [0; 0]);
    }
}
