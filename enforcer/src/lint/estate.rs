//! What lints see: policies as they are written, and the cluster that the files declare.

use std::collections::BTreeSet;
use std::path::Path;

use enforcer_core::model::{
    Cluster, Labels, Peer, Pod, PodId, Policy, PolicyId, Selector, Service, ServiceId,
};
use serde_json::Value;

use super::coverage::Coverage;
use crate::source::manifests::Declared;

/// The policies and the cluster of some files.
#[derive(Debug)]
pub struct Estate<'a> {
    /// The policies.
    pub subjects: Vec<Subject<'a>>,
    /// The objects without errors.
    pub cluster: &'a Cluster,
    /// Objects of other kinds: kind, and the object as it is written.
    pub others: Vec<(&'a str, &'a Value)>,
    /// The Services of type LoadBalancer whose probes reach their pods: with
    /// `externalTrafficPolicy: Local`, kube-proxy answers them.
    balanced: BTreeSet<ServiceId>,
    /// Whether the pods of selectors are declared.
    pub(super) coverage: Coverage,
}

/// A policy.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// As it is written.
    pub json: &'a Value,
    /// Its meaning; `None` if it has errors.
    pub policy: Option<&'a Policy>,
    /// The folder of its file, unless it names its namespace.
    pub loose: Option<&'a Path>,
}

/// A rule as it is written.
#[derive(Debug, Clone)]
pub(super) struct WrittenRule<'a> {
    pub(super) path: String,
    /// `from` or `to`.
    pub(super) peers: &'static str,
    pub(super) json: &'a Value,
}

impl<'a> Estate<'a> {
    /// The estate of some objects.
    #[must_use]
    pub fn new(declared: &[Declared<'a>], cluster: &'a Cluster) -> Self {
        let is_policy = |it: &&Declared<'a>| it.is_policy();
        let subject = |it: &Declared<'a>| Subject {
            json: it.json(),
            policy: it.policy().and_then(|id| cluster.policies.get(&id)),
            loose: (!it.names_namespace()).then(|| it.file().parent()).flatten(),
        };
        let others: Vec<(&str, &Value)> =
            declared.iter().filter(|it| !is_policy(it)).map(|it| (it.kind(), it.json())).collect();
        let services = others.iter().filter(|(kind, _)| *kind == "Service");
        let balanced = services.filter_map(|(_, it)| balanced(it)).collect();
        let coverage = Coverage::default();
        let subjects = declared.iter().filter(is_policy).map(subject).collect();
        let estate = Self { balanced, subjects, cluster, others, coverage };
        Self { coverage: estate.covered(), ..estate }
    }

    /// The selectors of all policies, against the declared pods.
    fn covered(&self) -> Coverage {
        let mut coverage = Coverage::default();
        for policy in self.subjects.iter().filter_map(|it| it.policy) {
            let own: Vec<&Pod> = self.pods_in(&policy.id.namespace).collect();
            coverage.note(&policy.subjects, &own);
            let rules = policy.ingress.iter().chain(&policy.egress).flatten();
            for peer in rules.flat_map(|it| &it.peers) {
                if let Peer::Pods { pods, .. } = peer {
                    coverage.note(pods, &self.peers(policy, peer).0);
                }
            }
        }
        coverage
    }

    /// The pods of a namespace that policy can apply to.
    pub(super) fn pods_in(&self, namespace: &str) -> impl Iterator<Item = &Pod> + use<'_> {
        let namespace = namespace.to_owned();
        let pods = self.cluster.pods.range(PodId::new(&*namespace, "")..).map(|(_, it)| it);
        pods.take_while(move |it| it.id.namespace == namespace).filter(|it| it.is_peer())
    }

    /// The policies of a namespace.
    pub(super) fn policies_in(&self, namespace: &str) -> impl Iterator<Item = &Policy> + use<'_> {
        let namespace = namespace.to_owned();
        let policies = self.cluster.policies.range(PolicyId::new(&*namespace, "")..);
        policies.map(|(_, it)| it).take_while(move |it| it.id.namespace == namespace)
    }

    /// Whether a load balancer's probes reach the pods of a Service.
    pub(super) fn is_balanced(&self, service: &ServiceId) -> bool {
        self.balanced.contains(service)
    }

    /// The pods that a policy selects.
    pub(super) fn selected(&self, policy: &Policy) -> Vec<&Pod> {
        let pods = self.pods_in(&policy.id.namespace);
        pods.filter(|it| policy.subjects.matches(&it.labels)).collect()
    }

    /// The pods that a peer may be by its namespace, and those of them that it is.
    pub(super) fn peers(&self, policy: &Policy, peer: &Peer) -> (Vec<&Pod>, Vec<&Pod>) {
        let Peer::Pods { namespaces, pods } = peer else { return (Vec::new(), Vec::new()) };
        let is_near = |it: &&Pod| match namespaces {
            None => it.id.namespace == policy.id.namespace,
            Some(selector) => self.namespace_matches(selector, &it.id.namespace),
        };
        let near = self.cluster.pods.values().filter(|it| it.is_peer()).filter(is_near);
        let near: Vec<&Pod> = near.collect();
        let matching = near.iter().copied().filter(|it| pods.matches(&it.labels)).collect();
        (near, matching)
    }

    fn namespace_matches(&self, selector: &Selector, name: &str) -> bool {
        let empty = Labels::new();
        let labels = self.cluster.namespaces.get(name).map_or(&empty, |it| &it.labels);
        selector.matches(labels)
    }

    /// The Services that lead to a pod.
    pub(super) fn services_of<'s>(&'s self, pod: &'s Pod) -> impl Iterator<Item = &'s Service> {
        let first = ServiceId::new(&*pod.id.namespace, "");
        let services = self.cluster.services.range(first..).map(|(_, it)| it);
        let leads = |it: &Service| it.selector.as_ref().is_some_and(|it| it.matches(&pod.labels));
        services.take_while(|it| it.id.namespace == pod.id.namespace).filter(move |it| leads(it))
    }

    /// The policies that apply to a pod.
    pub(super) fn policies_of<'s>(&'s self, pod: &'s Pod) -> impl Iterator<Item = &'s Policy> {
        self.policies_in(&pod.id.namespace).filter(|it| it.subjects.matches(&pod.labels))
    }
}

/// The Service, if it is of type LoadBalancer and probed at its pods.
fn balanced(json: &Value) -> Option<ServiceId> {
    let text = |path| json.pointer(path).and_then(Value::as_str).filter(|it| !it.is_empty());
    let is_local = text("/spec/externalTrafficPolicy") == Some("Local");
    let is_balanced = text("/spec/type") == Some("LoadBalancer") && !is_local;
    let namespace = text("/metadata/namespace").unwrap_or("default");
    is_balanced.then_some(ServiceId::new(namespace, text("/metadata/name")?))
}

impl<'a> Subject<'a> {
    /// The rules of both directions.
    pub(super) fn rules(&self) -> Vec<WrittenRule<'a>> {
        let mut found = Vec::new();
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            let list = self.json.pointer(&format!("/spec/{direction}")).and_then(Value::as_array);
            for (index, json) in list.into_iter().flatten().enumerate() {
                let path = format!("spec.{direction}[{index}]");
                found.push(WrittenRule { path, peers, json });
            }
        }
        found
    }
}

impl<'a> WrittenRule<'a> {
    /// The peers, each with its path.
    pub(super) fn peer_list(&self) -> impl Iterator<Item = (String, &'a Value)> {
        self.list(self.peers)
    }

    /// The entries of a list, each with its path.
    pub(super) fn list(&self, field: &str) -> impl Iterator<Item = (String, &'a Value)> {
        let base = format!("{}.{field}", self.path);
        let list = self.json.get(field).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .enumerate()
            .map(move |(index, it)| (format!("{base}[{index}]"), it))
    }
}
