//! Groups of pods that one selector selects exactly: usually the pods of one workload.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::selector::exact;
use crate::explain::Workloads;
use crate::model::{Cluster, Pod, PodId, Protocol, Selector, Service};

/// The pods of a workload, or of several whose labels are alike.
pub(super) struct Group<'a> {
    pub(super) namespace: String,
    pub(super) workloads: BTreeSet<String>,
    pub(super) pods: Vec<&'a Pod>,
    pub(super) selector: Selector,
}

/// All groups of a cluster.
pub(super) struct Groups<'a> {
    pub(super) cluster: &'a Cluster,
    groups: Vec<Group<'a>>,
    by_workload: BTreeMap<String, usize>,
    by_pod: BTreeMap<&'a PodId, usize>,
    /// The addresses that a block must not contain by chance.
    pub(super) known: BTreeSet<IpAddr>,
}

/// The workloads of a namespace, and which group each belongs to.
type Parts<'a> = Vec<(BTreeSet<String>, Vec<&'a Pod>)>;

impl<'a> Groups<'a> {
    pub(super) fn new(cluster: &'a Cluster, workloads: &Workloads) -> Self {
        let mut named: BTreeMap<&str, BTreeMap<String, Vec<&Pod>>> = BTreeMap::new();
        for pod in cluster.pods.values().filter(|it| it.is_peer()) {
            let name = workloads.of(pod).to_string();
            named.entry(&pod.id.namespace).or_default().entry(name).or_default().push(pod);
        }
        let mut groups = Vec::new();
        for (namespace, workloads) in named {
            let parts = workloads.into_iter().map(|(name, pods)| (BTreeSet::from([name]), pods));
            groups.extend(separate(namespace, parts.collect()));
        }
        let (mut by_workload, mut by_pod) = (BTreeMap::new(), BTreeMap::new());
        for (number, group) in groups.iter().enumerate() {
            by_workload.extend(group.workloads.iter().map(|it| (it.clone(), number)));
            by_pod.extend(group.pods.iter().map(|it| (&it.id, number)));
        }
        let pods = cluster.pods.values().flat_map(|it| it.addresses.iter().copied());
        let services = cluster.services.values().flat_map(Service::addresses);
        let known = pods.chain(services).chain(cluster.node_addresses.iter().copied());
        Self { cluster, by_workload, by_pod, known: known.collect(), groups }
    }

    pub(super) fn get(&self, number: usize) -> Option<&Group<'a>> {
        self.groups.get(number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Group<'a>)> {
        self.groups.iter().enumerate()
    }

    /// The group of a workload.
    pub(super) fn of(&self, workload: &str) -> Option<usize> {
        self.by_workload.get(workload).copied()
    }

    /// The group of a pod.
    pub(super) fn of_pod(&self, pod: &PodId) -> Option<usize> {
        self.by_pod.get(pod).copied()
    }

    /// The name by which all pods of a group call this port, and no other.
    pub(super) fn port_name(&self, group: usize, protocol: Protocol, port: u16) -> Option<&'a str> {
        let pods = &self.get(group)?.pods;
        let calls = |pod: &Pod, name: &str| {
            let mut named =
                pod.ports.iter().filter(|it| it.name == name && it.protocol == protocol);
            named.next().is_some_and(|it| it.port == port) && named.next().is_none()
        };
        let ports = pods.first().map(|it| it.ports.iter());
        let mut names = ports.into_iter().flatten().filter(|it| !it.name.is_empty());
        let name = names.find(|it| pods.iter().all(|pod| calls(pod, &it.name)))?;
        Some(name.name.as_str())
    }
}

/// Joins workloads that no selector distinguishes, until one does for each part.
fn separate<'a>(namespace: &str, mut parts: Parts<'a>) -> Vec<Group<'a>> {
    loop {
        let mut selectors = Vec::new();
        let mut alike = None;
        for (number, (_, pods)) in parts.iter().enumerate() {
            let rest = parts.iter().enumerate().filter(|(other, _)| *other != number);
            let others: Vec<&Pod> = rest.flat_map(|(_, (_, pods))| pods.iter().copied()).collect();
            match exact(pods, &others) {
                Ok(selector) => selectors.push(selector),
                Err(found) => {
                    alike = found.first().map(|it| (number, it.id.clone()));
                    break;
                }
            }
        }
        let Some((number, pod)) = alike else {
            let groups = parts.into_iter().zip(selectors).map(|((workloads, pods), selector)| {
                Group { namespace: namespace.to_owned(), workloads, pods, selector }
            });
            return groups.collect();
        };
        let Some(other) = parts.iter().position(|(_, pods)| pods.iter().any(|it| it.id == pod))
        else {
            return Vec::new();
        };
        let (names, pods) = parts.remove(number.max(other));
        if let Some(part) = parts.get_mut(number.min(other)) {
            part.0.extend(names);
            part.1.extend(pods);
        }
    }
}
