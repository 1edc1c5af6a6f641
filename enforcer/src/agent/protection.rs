//! The policies that isolate this node's pods, for status and metrics.

use std::collections::{BTreeMap, HashMap};

use enforcer_core::explain::{self, Workload};
use enforcer_core::model::{Labels, PodId, PolicyId};

use super::reconciler::Reconciler;
use crate::observe::PodProtection;

impl Reconciler {
    /// The policies that isolate each pod of this node. Pods of one namespace with equal labels have
    /// the same ones.
    pub(super) fn protection(&self) -> BTreeMap<PodId, PodProtection> {
        let mut known: HashMap<(&str, &Labels), [Vec<String>; 2]> = HashMap::new();
        let pods = self.assignment.pods.values().filter_map(|id| self.cluster.pods.get(id));
        let protection = pods.filter(|pod| pod.is_peer() && !pod.addresses.is_empty()).map(|pod| {
            let key = (pod.id.namespace.as_str(), &pod.labels);
            let [ingress, egress] = known.entry(key).or_insert_with(|| {
                let protection = explain::protection(&self.cluster, pod);
                [names(&protection.ingress), names(&protection.egress)]
            });
            let workload = Workload::of(pod);
            let protection =
                PodProtection { workload, ingress: ingress.clone(), egress: egress.clone() };
            (pod.id.clone(), protection)
        });
        protection.collect()
    }
}

fn names(policies: &[PolicyId]) -> Vec<String> {
    policies.iter().map(PolicyId::to_string).collect()
}
