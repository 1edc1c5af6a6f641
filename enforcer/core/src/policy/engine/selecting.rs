//! The policies that select a pod, at the cost of those that name one of its labels.

use std::collections::{BTreeSet, HashMap};

use super::labels::required;
use crate::model::{Cluster, Pod, Policy, PolicyId};

/// The policies of one namespace that are enforced.
#[derive(Default)]
struct Filed<'c> {
    /// By the label of which they need one of some values.
    by_label: HashMap<(&'c str, &'c str), Vec<&'c Policy>>,
    /// Those that need none.
    others: Vec<&'c Policy>,
}

/// Finds the policies of pods, in one state of the cluster. A tenant may have as many policies as pods, so
/// they are not all compared with each other.
pub(super) struct Selecting<'c> {
    cluster: &'c Cluster,
    namespaces: HashMap<&'c str, Filed<'c>>,
}

impl<'c> Selecting<'c> {
    pub(super) fn new(cluster: &'c Cluster) -> Self {
        Self { cluster, namespaces: HashMap::new() }
    }

    /// The policies that select the pod.
    pub(super) fn policies_of(&mut self, pod: &'c Pod) -> BTreeSet<PolicyId> {
        let cluster = self.cluster;
        let namespace = pod.id.namespace.as_str();
        let Filed { by_label, others } =
            self.namespaces.entry(namespace).or_insert_with(|| Filed::of(cluster, namespace));
        let labels = pod.labels.iter();
        let filed = labels.filter_map(|(key, value)| by_label.get(&(key, value))).flatten();
        let candidates = filed.chain(&*others);
        candidates.filter(|it| it.subjects.matches(&pod.labels)).map(|it| it.id.clone()).collect()
    }
}

impl<'c> Filed<'c> {
    fn of(cluster: &'c Cluster, namespace: &str) -> Self {
        let mut filed = Self::default();
        let policies = cluster.policies.range(PolicyId::new(namespace, "")..);
        let policies = policies.take_while(|(id, _)| id.namespace == namespace);
        for (_, policy) in policies.filter(|(_, policy)| !cluster.is_in_audit(policy)) {
            match required(&policy.subjects) {
                Some((key, values)) => values.iter().for_each(|value| {
                    filed.by_label.entry((key, value)).or_default().push(policy);
                }),
                None => filed.others.push(policy),
            }
        }
        filed
    }
}
