//! One picture of a pod out of two: the source's and the container runtime's.
//!
//! The runtime knows a pod's addresses before its containers run; the API server learns them from
//! the kubelet, later. The source knows labels, ports and namespaces better. So a pod of this node
//! is what the source says of it, with the addresses of its living sandbox until the source has
//! them too; and what the sandbox says alone, as long as the source has not told of the pod: then
//! it has no named ports yet, and no rule can mean them.
//!
//! A name may pass to another pod, so the two are put together by `metadata.uid` (semantics C5).
//! What a source has once called gone stays gone. A sandbox that ends takes its addresses with it
//! though the source still shows them: the runtime may give them to the next pod at any time.
//!
//! Of sandboxes that were only listed, when the runtime was connected to, it may never tell the
//! end: containerd does not for those that are older than itself. They count for less, and only
//! while there is an interface with their addresses.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use crate::node::Snapshot;
use enforcer_core::model::{Change, Cluster, Pod, PodId, Sandbox};

/// How many pods that are gone are remembered: a sandbox may be announced after its pod's end.
const GONE: usize = 1024;

/// This node's sandboxes, and what the source says of their pods.
#[derive(Debug)]
pub(super) struct Sandboxes {
    node_name: String,
    /// The newest sandbox of each pod.
    living: BTreeMap<PodId, Living>,
    /// What the source says of pods that have a sandbox or had one: the cluster has the outcome.
    said: BTreeMap<PodId, Pod>,
    /// What a pod had for addresses whose sandbox has ended. While the source shows no others, the
    /// pod has none.
    ended: BTreeMap<PodId, BTreeSet<IpAddr>>,
    /// `metadata.uid` of pods that the source has called gone, the latest last.
    gone: VecDeque<String>,
    /// Whether the runtime tells of every change.
    is_told: bool,
}

#[derive(Debug)]
struct Living {
    sandbox: Sandbox,
    /// What netlink shows in its network namespace.
    seen: BTreeSet<IpAddr>,
    /// Whether it was listed, not announced.
    is_listed: bool,
    /// Whether netlink has shown an interface with its addresses.
    was_there: bool,
}

impl Living {
    fn addresses(&self) -> &BTreeSet<IpAddr> {
        if self.sandbox.addresses.is_empty() { &self.seen } else { &self.sandbox.addresses }
    }
}

impl Sandboxes {
    /// Knows of none.
    pub(super) fn new(node_name: &str) -> Self {
        Self {
            node_name: node_name.to_owned(),
            living: BTreeMap::new(),
            said: BTreeMap::new(),
            ended: BTreeMap::new(),
            gone: VecDeque::new(),
            is_told: false,
        }
    }

    /// How many sandboxes there are.
    pub(super) fn count(&self) -> usize {
        self.living.len()
    }

    /// The pod of a living sandbox.
    pub(super) fn pod_of(&self, sandbox: &str) -> Option<&PodId> {
        self.living.iter().find(|(_, it)| it.sandbox.id == sandbox).map(|(pod, _)| pod)
    }

    /// Turns what the source says into what the cluster is to hold.
    pub(super) fn said(&mut self, change: Change, cluster: &Cluster) -> Change {
        match change {
            Change::Pod(pod) => self.said_to_be(pod, cluster),
            Change::PodGone(id) => self.said_to_be_gone(&id, cluster),
            other => other,
        }
    }

    fn said_to_be(&mut self, pod: Pod, cluster: &Cluster) -> Change {
        let id = pod.id.clone();
        let before = self.at_source(&id, cluster).cloned();
        let is_another = before.as_ref().is_none_or(|it| it.uid != pod.uid);
        if let Some(before) = before.filter(|_| is_another) {
            self.note_gone(before);
        }
        // Another pod than before, and not the sandbox's: which of the two is newer can't be told.
        self.living.retain(|of, it| *of != id || !is_another || same(&pod.uid, &it.sandbox.uid));
        if self.ended.get(&id).is_some_and(|it| is_another || !pod.addresses.is_subset(it)) {
            self.ended.remove(&id);
        }
        if !self.living.contains_key(&id) && !self.ended.contains_key(&id) {
            self.said.remove(&id);
            return Change::Pod(pod);
        }
        self.said.insert(id.clone(), pod);
        self.outcome(&id)
    }

    fn said_to_be_gone(&mut self, id: &PodId, cluster: &Cluster) -> Change {
        if let Some(before) = self.at_source(id, cluster).cloned() {
            self.living.retain(|of, it| of != id || !same(&before.uid, &it.sandbox.uid));
            self.note_gone(before);
        }
        self.ended.remove(id);
        self.said.remove(id);
        self.outcome(id)
    }

    /// What the source says of a pod.
    fn at_source<'a>(&'a self, id: &PodId, cluster: &'a Cluster) -> Option<&'a Pod> {
        if self.living.contains_key(id) || self.ended.contains_key(id) {
            self.said.get(id)
        } else {
            cluster.pods.get(id)
        }
    }

    fn note_gone(&mut self, Pod { uid, node, .. }: Pod) {
        // Files may have no uid. Pods of other nodes have no sandbox here.
        let is_here = node.is_none_or(|it| it == self.node_name);
        if uid.is_empty() || !is_here || self.gone.contains(&uid) {
            return;
        }
        if self.gone.len() == GONE {
            self.gone.pop_front();
        }
        self.gone.push_back(uid);
    }

    /// A pod's sandbox is there. `None`: it is of a pod that the source has called gone.
    pub(super) fn started(&mut self, sandbox: Sandbox, cluster: &Cluster) -> Option<Change> {
        self.enter(sandbox, false, cluster)
    }

    fn enter(&mut self, sandbox: Sandbox, is_listed: bool, cluster: &Cluster) -> Option<Change> {
        self.is_told = true;
        if self.gone.contains(&sandbox.uid) {
            return None;
        }
        let id = sandbox.pod.clone();
        if let Some(pod) = self.at_source(&id, cluster).cloned() {
            self.said.insert(id.clone(), pod);
        }
        self.ended.remove(&id);
        let before = self.living.remove(&id).filter(|it| it.sandbox == sandbox);
        let (seen, was_there) = before.map(|it| (it.seen, it.was_there)).unwrap_or_default();
        self.living.insert(id.clone(), Living { sandbox, seen, is_listed, was_there });
        Some(self.outcome(&id))
    }

    /// A sandbox has ended. `None`: its pod has a newer one, or it was not known.
    pub(super) fn ended(&mut self, sandbox: &str) -> Option<Change> {
        let id = self.pod_of(sandbox)?.clone();
        let living = self.living.remove(&id)?;
        if let Some(pod) = self.said.get(&id).filter(|it| same(&it.uid, &living.sandbox.uid)) {
            let addresses = pod.addresses.union(living.addresses()).copied().collect();
            self.ended.insert(id.clone(), addresses);
        }
        Some(self.without(&id))
    }

    /// What the cluster is to hold of a pod that has no sandbox any more.
    fn without(&mut self, id: &PodId) -> Change {
        let change = self.outcome(id);
        if !self.ended.contains_key(id) {
            self.said.remove(id);
        }
        change
    }

    /// These are the sandboxes that there are. Of a pod that has several, none is believed, nor one
    /// that the source knows as another pod: which is the newer can't be told.
    pub(super) fn all(&mut self, sandboxes: Vec<Sandbox>, cluster: &Cluster) -> Vec<Change> {
        self.is_told = true;
        let mut listed: BTreeMap<PodId, Vec<Sandbox>> = BTreeMap::new();
        for sandbox in sandboxes {
            listed.entry(sandbox.pod.clone()).or_default().push(sandbox);
        }
        let mut changes = Vec::new();
        let is_listed = |id: &PodId, sandbox: &str| {
            listed.get(id).is_some_and(|all| all.iter().any(|it| it.id == sandbox))
        };
        let vanished = self.living.iter().filter(|(id, it)| !is_listed(id, &it.sandbox.id));
        let vanished: Vec<PodId> = vanished.map(|(id, _)| id.clone()).collect();
        for id in vanished {
            // It may have ended, or be one whose place can't be told this time.
            self.living.remove(&id);
            changes.push(self.without(&id));
        }
        for (id, sandboxes) in listed {
            let Ok([sandbox]) = <[Sandbox; 1]>::try_from(sandboxes) else { continue };
            let source = self.at_source(&id, cluster);
            if source.is_none_or(|pod| same(&pod.uid, &sandbox.uid)) {
                changes.extend(self.enter(sandbox, true, cluster));
            }
        }
        changes
    }

    /// The runtime tells nothing any more. What it said holds only where the source says nothing.
    pub(super) fn lost(&mut self) -> Vec<Change> {
        self.is_told = false;
        let ids: Vec<PodId> = self.living.keys().cloned().collect();
        ids.iter().map(|id| self.outcome(id)).collect()
    }

    /// Netlink shows these interfaces.
    pub(super) fn seen(&mut self, snapshot: &Snapshot) -> Vec<Change> {
        let (mut changed, mut vanished) = (Vec::new(), Vec::new());
        for (id, living) in &mut self.living {
            if let Some(namespace) = living.sandbox.namespace {
                let inside = snapshot.interfaces.values().filter(|it| it.namespace == namespace);
                let seen: BTreeSet<IpAddr> =
                    inside.flat_map(|it| it.addresses.iter().copied()).collect();
                if living.seen != seen {
                    living.seen = seen;
                    changed.push(id.clone());
                }
            }
            let addresses = living.addresses();
            let is_there =
                snapshot.interfaces.values().any(|it| !it.addresses.is_disjoint(addresses));
            if living.is_listed && living.was_there && !is_there {
                vanished.push(id.clone());
            }
            living.was_there |= is_there;
        }
        let changes: Vec<Change> = changed.iter().map(|id| self.outcome(id)).collect();
        let vanished = vanished.into_iter().map(|id| {
            self.living.remove(&id);
            self.without(&id)
        });
        changes.into_iter().chain(vanished).collect()
    }

    /// What the cluster is to hold of a pod.
    fn outcome(&self, id: &PodId) -> Change {
        let said = self.said.get(id);
        let pod = match self.living.get(id) {
            Some(living) => self.with_sandbox(said, living),
            None if self.ended.contains_key(id) => {
                said.map(|pod| Pod { addresses: BTreeSet::new(), ..pod.clone() })
            }
            None => said.cloned(),
        };
        pod.map_or_else(|| Change::PodGone(id.clone()), Change::Pod)
    }

    fn with_sandbox(&self, said: Option<&Pod>, living: &Living) -> Option<Pod> {
        let addresses = living.addresses();
        if addresses.is_empty() {
            return said.cloned();
        }
        let node = Some(self.node_name.clone());
        let Some(pod) = said.filter(|pod| same(&pod.uid, &living.sandbox.uid)) else {
            let Sandbox { pod, uid, labels, .. } = &living.sandbox;
            return Some(Pod {
                id: pod.clone(),
                uid: uid.clone(),
                labels: labels.clone(),
                node,
                addresses: addresses.clone(),
                host_network: false,
                finished: false,
                terminating: false,
                ports: BTreeSet::new(),
            });
        };
        let is_here = pod.node.as_ref().is_none_or(|it| *it == self.node_name);
        // A sandbox made anew has other addresses than the source shows, for a while.
        let is_fresh = self.is_told && !living.is_listed;
        let is_new = is_fresh && pod.addresses.is_disjoint(addresses);
        if is_here && pod.is_peer() && (pod.addresses.is_empty() || is_new) {
            Some(Pod { node, addresses: addresses.clone(), ..pod.clone() })
        } else {
            Some(pod.clone())
        }
    }
}

/// Whether two versions of a pod's name are of one pod. Pods of files may have no uid.
fn same(one: &str, other: &str) -> bool {
    one == other || one.is_empty() || other.is_empty()
}

#[cfg(test)]
mod tests;
