//! The cluster's pods, in groups that no rule distinguishes.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::atoms::{AtomChanges, Atoms, Scope};
use super::slab::{Column, Number, Slab};
use crate::model::{
    Cluster, ContainerPort, Labels, NAMESPACE_NAME_LABEL, Name, Pod, PodId, SharedSet,
};

/// A namespace that has pods or is the scope of a rule.
#[derive(Debug, Default)]
struct Space {
    /// Its labels.
    labels: Number,
    pods: HashMap<Name, Number>,
    groups: BTreeSet<Number>,
}

/// Pods that are alike in namespace, labels and ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    space: Number,
    labels: Number,
    ports: Number,
}

#[derive(Debug, Default)]
struct Group {
    signature: Number,
    pods: Vec<Number>,
}

/// A pod that can be a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Peer {
    group: Number,
    /// Its position in the group.
    at: u32,
    addresses: SharedSet<IpAddr>,
    terminating: bool,
}

/// What rules can know of a pod: its atoms, and its ports that they name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Signature {
    pub(super) atoms: Vec<Number>,
    pub(super) ports: Vec<ContainerPort>,
}

/// The cluster's pods.
#[derive(Debug)]
pub(super) struct Peers {
    spaces: Slab<String>,
    space: Column<Space>,
    ports: Slab<SharedSet<ContainerPort>>,
    groups: Slab<Kind>,
    group: Column<Group>,
    by_labels: Column<Vec<Number>>,
    signatures: Slab<Signature>,
    pods: Column<Peer>,
    free: Vec<Number>,
    next: Number,
    dirty: BTreeSet<Number>,
}

/// The signature of pods that no rule names.
const NO_SIGNATURE: Number = 0;

impl Default for Peers {
    fn default() -> Self {
        let mut signatures = Slab::default();
        signatures.take(Signature::default());
        Self {
            spaces: Slab::default(),
            space: Column::default(),
            ports: Slab::default(),
            groups: Slab::default(),
            group: Column::default(),
            by_labels: Column::default(),
            signatures,
            pods: Column::default(),
            free: Vec::new(),
            next: 0,
            dirty: BTreeSet::new(),
        }
    }
}

impl Peers {
    /// The number of a namespace, with one more use.
    pub(super) fn take_space(
        &mut self,
        cluster: &Cluster,
        atoms: &mut Atoms,
        name: &str,
    ) -> Number {
        let name = name.to_owned();
        if let Some(number) = self.spaces.number(&name) {
            self.spaces.retain(number);
            return number;
        }
        let labels = atoms.namespace_labels.take_set(&labels_of(cluster, &name));
        let number = self.spaces.take(name);
        self.space.at(number).labels = labels;
        number
    }

    pub(super) fn release_space(&mut self, space: Number) {
        self.spaces.release(space);
    }

    /// Notes the labels of a namespace.
    pub(super) fn relabel(&mut self, cluster: &Cluster, atoms: &mut Atoms, name: &str) {
        let name = name.to_owned();
        let Some(number) = self.spaces.number(&name) else { return };
        let labels = atoms.namespace_labels.take_set(&labels_of(cluster, &name));
        let space = self.space.at(number);
        let before = std::mem::replace(&mut space.labels, labels);
        atoms.namespace_labels.release_set(before);
        if before != labels {
            self.dirty.extend(&space.groups);
        }
    }

    /// Notes a pod's state. `touch` is called for each address that may have changed.
    pub(super) fn pod(
        &mut self,
        cluster: &Cluster,
        atoms: &mut Atoms,
        id: &PodId,
        touch: &mut impl FnMut(IpAddr, Number, bool),
    ) {
        let pod = cluster.pods.get(id).filter(|pod| pod.is_peer() && !pod.addresses.is_empty());
        let space = self.take_space(cluster, atoms, &id.namespace);
        let known = self.space.at(space).pods.get(id.name.as_str()).copied();
        match (known, pod) {
            (None, None) => {}
            (None, Some(pod)) => self.add(atoms, space, pod, touch),
            (Some(number), None) => self.remove(atoms, space, id, number, touch),
            (Some(number), Some(pod)) => self.change(atoms, space, pod, number, touch),
        }
        self.spaces.release(space);
    }

    fn add(
        &mut self,
        atoms: &mut Atoms,
        space: Number,
        pod: &Pod,
        touch: &mut impl FnMut(IpAddr, Number, bool),
    ) {
        let number = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        self.spaces.retain(space);
        self.space.at(space).pods.insert(pod.id.name.clone(), number);
        let group = self.take_group(atoms, space, pod);
        let addresses = pod.addresses.clone();
        addresses.iter().for_each(|it| touch(*it, number, true));
        *self.pods.at(number) = Peer { group, at: 0, addresses, terminating: pod.terminating };
        self.enter(number, group);
    }

    fn remove(
        &mut self,
        atoms: &mut Atoms,
        space: Number,
        id: &PodId,
        number: Number,
        touch: &mut impl FnMut(IpAddr, Number, bool),
    ) {
        self.space.at(space).pods.remove(id.name.as_str());
        self.spaces.release(space);
        self.leave(number);
        let peer = self.pods.take(number);
        peer.addresses.iter().for_each(|it| touch(*it, number, false));
        self.release_group(atoms, peer.group);
        self.free.push(number);
    }

    fn change(
        &mut self,
        atoms: &mut Atoms,
        space: Number,
        pod: &Pod,
        number: Number,
        touch: &mut impl FnMut(IpAddr, Number, bool),
    ) {
        let group = self.take_group(atoms, space, pod);
        let before = self.pods.at(number).clone();
        if before.group == group {
            self.release_group(atoms, group);
        } else {
            self.leave(number);
            self.release_group(atoms, before.group);
            self.enter(number, group);
        }
        let addresses = pod.addresses.clone();
        let is_same = before.group == group && before.terminating == pod.terminating;
        if is_same && before.addresses == addresses {
            return;
        }
        for gone in before.addresses.iter().filter(|it| !addresses.contains(it)) {
            touch(*gone, number, false);
        }
        addresses.iter().for_each(|it| touch(*it, number, true));
        let peer = self.pods.at(number);
        peer.addresses = addresses;
        peer.terminating = pod.terminating;
    }

    fn take_group(&mut self, atoms: &mut Atoms, space: Number, pod: &Pod) -> Number {
        let labels = atoms.pod_labels.take_set(&pod.labels);
        let ports = match self.ports.number(&pod.ports) {
            Some(number) => {
                self.ports.retain(number);
                number
            }
            None => self.ports.take(pod.ports.clone()),
        };
        let kind = Kind { space, labels, ports };
        let is_new = self.groups.number(&kind).is_none();
        let group = self.groups.take(kind);
        if is_new {
            self.spaces.retain(space);
            self.space.at(space).groups.insert(group);
            self.by_labels.at(labels).push(group);
            self.signatures.retain(NO_SIGNATURE);
            *self.group.at(group) = Group { signature: NO_SIGNATURE, pods: Vec::new() };
            self.dirty.insert(group);
        } else {
            atoms.pod_labels.release_set(labels);
            self.ports.release(ports);
        }
        group
    }

    /// A group whose last pod has left stays until [`Self::collect`].
    fn release_group(&mut self, _: &mut Atoms, group: Number) {
        self.groups.release(group);
    }

    fn enter(&mut self, pod: Number, group: Number) {
        let pods = &mut self.group.at(group).pods;
        let at = u32::try_from(pods.len()).unwrap_or(u32::MAX);
        pods.push(pod);
        let peer = self.pods.at(pod);
        (peer.group, peer.at) = (group, at);
    }

    fn leave(&mut self, pod: Number) {
        let Peer { group, at, .. } = *self.pods.at(pod);
        let pods = &mut self.group.at(group).pods;
        pods.swap_remove(at as usize);
        if let Some(&moved) = pods.get(at as usize) {
            self.pods.at(moved).at = at;
        }
    }

    /// Notes the groups that the atoms' changes concern.
    pub(super) fn concern(&mut self, atoms: &Atoms, changes: &AtomChanges) {
        if changes.every_pod {
            self.dirty.extend(self.groups.iter().map(|(group, _)| group));
            return;
        }
        for (scope, selector) in &changes.pods {
            for &labels in atoms.pod_labels.matched(*selector) {
                let groups = self.by_labels.get(labels).into_iter().flatten().copied();
                let in_scope = |group: &Number| match scope {
                    Scope::Matching(_) => true,
                    Scope::Own(own) => self.groups.get(*group).is_some_and(|it| it.space == *own),
                };
                self.dirty.extend(groups.filter(in_scope));
            }
        }
    }

    /// Finds the signatures of the groups that are concerned. `touch` is called for the addresses of
    /// pods with another one.
    pub(super) fn sign(&mut self, atoms: &Atoms, touch: &mut impl FnMut(IpAddr)) {
        for group in std::mem::take(&mut self.dirty) {
            let Some(kind) = self.groups.get(group).map(|it| **it) else { continue };
            let space_labels = self.space.at(kind.space).labels;
            let found = atoms.of(kind.space, space_labels, kind.labels);
            let ports = match self.ports.get(kind.ports) {
                Some(ports) if !found.is_empty() => atoms.named(ports.as_slice()),
                _ => Vec::new(),
            };
            let signature = self.signatures.take(Signature { atoms: found, ports });
            let before = std::mem::replace(&mut self.group.at(group).signature, signature);
            self.signatures.release(before);
            if before != signature {
                for &pod in &self.group.at(group).pods {
                    let peer = self.pods.get(pod);
                    peer.iter().flat_map(|it| &it.addresses).for_each(|it| touch(*it));
                }
            }
        }
    }

    /// The signatures of the pods with an address, sorted, without those that no rule names. If some
    /// of the pods are being deleted and others not, the address is the others' (semantics C5).
    pub(super) fn signatures(&self, owners: &[Number]) -> Vec<Number> {
        let peers = || owners.iter().filter_map(|it| self.pods.get(*it));
        let stays = peers().any(|peer| !peer.terminating);
        let mut signatures: Vec<Number> = peers()
            .filter(|peer| !(stays && peer.terminating))
            .filter_map(|peer| Some(self.group.get(peer.group)?.signature))
            .filter(|it| *it != NO_SIGNATURE)
            .collect();
        signatures.sort_unstable();
        signatures.dedup();
        signatures
    }

    pub(super) fn signature(&self, number: Number) -> Option<&Signature> {
        self.signatures.get(number).map(|it| &**it)
    }

    /// The number of groups.
    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Forgets what no pod has any more.
    pub(super) fn collect(&mut self, atoms: &mut Atoms) {
        for (group, kind) in self.groups.collect().gone {
            self.space.at(kind.space).groups.remove(&group);
            self.by_labels.at(kind.labels).retain(|it| *it != group);
            self.signatures.release(self.group.take(group).signature);
            atoms.pod_labels.release_set(kind.labels);
            self.ports.release(kind.ports);
            self.spaces.release(kind.space);
        }
        self.ports.collect();
        self.signatures.collect();
        for (space, _) in self.spaces.collect().gone {
            let space = self.space.take(space);
            atoms.namespace_labels.release_set(space.labels);
        }
    }
}

fn labels_of(cluster: &Cluster, name: &str) -> Labels {
    match cluster.namespaces.get(name) {
        Some(namespace) => namespace.labels.clone(),
        // Not declared: it has only the label that every namespace has (semantics R3).
        None => Labels::from([(NAMESPACE_NAME_LABEL.to_owned(), name.to_owned())]),
    }
}
