//! Merges the source's and the container runtime's view of a pod.
//!
//! The runtime knows a pod's addresses before its containers run; the API server learns them from the
//! kubelet, later. The source is authoritative for labels, ports and namespaces. So a pod of this node
//! is the source's pod, with the addresses of its sandbox until the source has them too. A pod that the
//! source has not reported yet is made from its sandbox alone; it has no named ports then, and no rule
//! can refer to them.
//!
//! A name may be reused by another pod, so the two views are matched by `metadata.uid` (semantics
//! C5). A pod that a source has reported as gone stays gone. A sandbox that ends removes its addresses
//! from the pod although the source still shows them: the runtime may give them to the next pod at any
//! time.
//!
//! The runtime's CNI results list its sandboxes, too, without labels: such a sandbox gives a pod of the
//! source its addresses, and is evidence for its interface ([`super::claims`]).
//!
//! The runtime may never report the end of sandboxes that were only listed when the agent connected:
//! containerd does not report it for those that are older than itself. They count only where the source
//! has no addresses, and only while there is an interface with their addresses.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use crate::node::Snapshot;
use enforcer_core::model::{Change, Cluster, Pod, PodId, Sandbox, SharedSet, Uid, same_uid};

/// The number of gone pods to remember: a sandbox may be announced after the end of its pod.
const GONE: usize = 1024;

/// This node's sandboxes, and their pods as the source reports them.
#[derive(Debug)]
pub(super) struct Sandboxes {
    node_name: String,
    /// The newest sandbox of each pod.
    living: BTreeMap<PodId, Living>,
    /// The source's view of pods that have or had a sandbox; the cluster has the merged view.
    reported: BTreeMap<PodId, Pod>,
    /// The former addresses of pods whose sandbox has ended. While the source shows no others, the
    /// pod has none.
    ended: BTreeMap<PodId, BTreeSet<IpAddr>>,
    /// Pods that the source has reported as gone, with their UIDs, the latest last. A mirror pod's UID
    /// is what its author wrote: alone, it could be another pod's.
    gone: VecDeque<(PodId, Uid)>,
    /// Whether the runtime reports every change.
    is_connected: bool,
}

/// The source of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reporter {
    /// The runtime's plugin interface.
    Nri,
    /// The runtime's CNI results.
    Cni,
}

#[derive(Debug)]
struct Living {
    sandbox: Sandbox,
    /// Whether the runtime's plugin interface reported it.
    by_nri: bool,
    /// Whether there is a CNI result of it.
    by_cni: bool,
    /// The addresses that netlink showed first in its network namespace (semantics S6).
    seen: BTreeSet<IpAddr>,
    /// Whether it was listed when the agent connected, not announced.
    is_listed: bool,
    /// Whether netlink has ever shown an interface with its addresses.
    was_there: bool,
}

impl Living {
    fn is(&mut self, by: Reporter) -> &mut bool {
        match by {
            Reporter::Nri => &mut self.by_nri,
            Reporter::Cni => &mut self.by_cni,
        }
    }

    fn addresses(&self) -> &BTreeSet<IpAddr> {
        if self.sandbox.addresses.is_empty() { &self.seen } else { &self.sandbox.addresses }
    }
}

impl Sandboxes {
    /// No sandboxes.
    pub(super) fn new(node_name: &str) -> Self {
        Self {
            node_name: node_name.to_owned(),
            living: BTreeMap::new(),
            reported: BTreeMap::new(),
            ended: BTreeMap::new(),
            gone: VecDeque::new(),
            is_connected: false,
        }
    }

    /// Whether the runtime's plugin interface reports every change.
    pub(super) fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// The number of sandboxes.
    pub(super) fn count(&self) -> usize {
        self.living.len()
    }

    /// The pod of a living sandbox.
    pub(super) fn pod_of(&self, sandbox: &str) -> Option<&PodId> {
        self.living.iter().find(|(_, it)| it.sandbox.id == sandbox).map(|(pod, _)| pod)
    }

    /// Turns a change that the source reports into a change of the cluster.
    pub(super) fn merge(&mut self, change: Change, cluster: &Cluster) -> Change {
        match change {
            Change::Pod(pod) => self.pod_reported(pod, cluster),
            Change::PodGone(id) => self.pod_gone(&id, cluster),
            other => other,
        }
    }

    fn pod_reported(&mut self, pod: Pod, cluster: &Cluster) -> Change {
        let id = pod.id.clone();
        let before = self.reported(&id, cluster).cloned();
        let is_another = before.as_ref().is_none_or(|it| it.uid != pod.uid);
        if let Some(before) = before.filter(|_| is_another) {
            self.note_gone(before);
        }
        // Another pod than before, and not the sandbox's: it is unknown which of the two is newer.
        self.living
            .retain(|of, it| *of != id || !is_another || same_uid(&pod.uid, &it.sandbox.uid));
        if self.ended.get(&id).is_some_and(|it| {
            is_another || !pod.addresses.iter().all(|address| it.contains(address))
        }) {
            self.ended.remove(&id);
        }
        if !self.living.contains_key(&id) && !self.ended.contains_key(&id) {
            self.reported.remove(&id);
            return Change::Pod(pod);
        }
        self.reported.insert(id.clone(), pod);
        self.outcome(&id)
    }

    fn pod_gone(&mut self, id: &PodId, cluster: &Cluster) -> Change {
        if let Some(before) = self.reported(id, cluster).cloned() {
            self.living.retain(|of, it| of != id || !same_uid(&before.uid, &it.sandbox.uid));
            self.note_gone(before);
        }
        self.ended.remove(id);
        self.reported.remove(id);
        self.outcome(id)
    }

    /// A pod as the source reports it.
    fn reported<'a>(&'a self, id: &PodId, cluster: &'a Cluster) -> Option<&'a Pod> {
        if self.living.contains_key(id) || self.ended.contains_key(id) {
            self.reported.get(id)
        } else {
            cluster.pods.get(id)
        }
    }

    fn note_gone(&mut self, Pod { id, uid, node, .. }: Pod) {
        // Files may have no uid. Pods of other nodes have no sandbox here.
        let is_here = node.is_none_or(|it| it == self.node_name);
        let (is_unknown, gone) = (uid.is_empty(), (id, uid));
        if is_unknown || !is_here || self.gone.contains(&gone) {
            return;
        }
        if self.gone.len() == GONE {
            self.gone.pop_front();
        }
        self.gone.push_back(gone);
    }

    /// A sandbox was announced. `None`: the source has reported its pod as gone.
    pub(super) fn started(
        &mut self,
        sandbox: Sandbox,
        by: Reporter,
        cluster: &Cluster,
    ) -> Option<Change> {
        self.is_connected |= by == Reporter::Nri;
        self.enter(sandbox, by, false, cluster)
    }

    fn enter(
        &mut self,
        mut sandbox: Sandbox,
        by: Reporter,
        is_listed: bool,
        cluster: &Cluster,
    ) -> Option<Change> {
        if self.gone.iter().any(|(pod, uid)| *pod == sandbox.pod && *uid == sandbox.uid) {
            return None;
        }
        let id = sandbox.pod.clone();
        if let Some(pod) = self.reported(&id, cluster).cloned() {
            self.reported.insert(id.clone(), pod);
        }
        self.ended.remove(&id);
        let before = self.living.remove(&id).filter(|it| it.sandbox.id == sandbox.id);
        let mut living = match before {
            Some(before) => {
                complete(&mut sandbox, &before.sandbox);
                // What one reporter listed, the other may have announced.
                let is_listed = is_listed && before.is_listed;
                let seen = match sandbox.namespace == before.sandbox.namespace {
                    true => before.seen,
                    false => BTreeSet::new(),
                };
                Living { sandbox, is_listed, seen, ..before }
            }
            None => Living {
                sandbox,
                by_nri: false,
                by_cni: false,
                seen: BTreeSet::new(),
                is_listed,
                was_there: false,
            },
        };
        *living.is(by) = true;
        self.living.insert(id.clone(), living);
        Some(self.outcome(&id))
    }

    /// A sandbox has ended. `None`: its pod has a newer one, or it was not known.
    pub(super) fn ended(&mut self, sandbox: &str) -> Option<Change> {
        let id = self.pod_of(sandbox)?.clone();
        let living = self.living.remove(&id)?;
        if let Some(pod) =
            self.reported.get(&id).filter(|it| same_uid(&it.uid, &living.sandbox.uid))
        {
            let addresses = pod.addresses.iter().chain(living.addresses()).copied().collect();
            self.ended.insert(id.clone(), addresses);
        }
        Some(self.without(&id))
    }

    /// The change of the cluster for a pod that has no sandbox any more.
    fn without(&mut self, id: &PodId) -> Change {
        let change = self.outcome(id);
        if !self.ended.contains_key(id) {
            self.reported.remove(id);
        }
        change
    }

    /// The runtime's records of the network of living sandboxes, as evidence for their interfaces. A
    /// sandbox that was only listed when the agent connected may have ended.
    pub(super) fn records(&self) -> impl Iterator<Item = &Sandbox> {
        let living = self.living.values().filter(|it| it.by_cni || !it.is_listed);
        living.map(|it| &it.sandbox)
    }

    /// The runtime's CNI results list a sandbox that was there when they became available.
    pub(super) fn listed(&mut self, sandbox: Sandbox, cluster: &Cluster) -> Option<Change> {
        let reported = self.reported(&sandbox.pod, cluster);
        let is_same = reported.is_none_or(|pod| same_uid(&pod.uid, &sandbox.uid));
        is_same.then(|| self.enter(sandbox, Reporter::Cni, true, cluster)).flatten()
    }

    /// The runtime's CNI results are not available any more.
    pub(super) fn forget_results(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for id in self.living.keys().cloned().collect::<Vec<_>>() {
            let Some(living) = self.living.get_mut(&id) else { continue };
            living.by_cni = false;
            if !living.by_nri {
                self.living.remove(&id);
                changes.push(self.without(&id));
            }
        }
        changes
    }

    /// The complete list of sandboxes. Ignores those of a pod that has several, and those that the
    /// source knows as another pod: it is unknown which is the newer one.
    pub(super) fn all(&mut self, sandboxes: Vec<Sandbox>, cluster: &Cluster) -> Vec<Change> {
        self.is_connected = true;
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
            // It may have ended, or the runtime can't locate it this time.
            if let Some(living) = self.living.get_mut(&id).filter(|it| it.by_cni) {
                living.by_nri = false;
                continue;
            }
            self.living.remove(&id);
            changes.push(self.without(&id));
        }
        for (id, sandboxes) in listed {
            let Ok([sandbox]) = <[Sandbox; 1]>::try_from(sandboxes) else { continue };
            let source = self.reported(&id, cluster);
            if source.is_none_or(|pod| same_uid(&pod.uid, &sandbox.uid)) {
                changes.extend(self.enter(sandbox, Reporter::Nri, true, cluster));
            }
        }
        changes
    }

    /// The connection to the runtime is lost. Sandboxes count only where the source has no addresses.
    pub(super) fn lost(&mut self) -> Vec<Change> {
        self.is_connected = false;
        let ids: Vec<PodId> = self.living.keys().cloned().collect();
        ids.iter().map(|id| self.outcome(id)).collect()
    }

    /// A new snapshot of the node.
    pub(super) fn seen(&mut self, snapshot: &Snapshot) -> Vec<Change> {
        let (mut changed, mut vanished) = (Vec::new(), Vec::new());
        for (id, living) in &mut self.living {
            if let Some(namespace) = living.sandbox.namespace {
                let inside = snapshot.interfaces.values().filter(|it| it.namespace == namespace);
                let seen: BTreeSet<IpAddr> =
                    inside.flat_map(|it| it.addresses.iter().copied()).collect();
                if living.seen.is_empty() != seen.is_empty() {
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

    /// The change of the cluster for a pod.
    fn outcome(&self, id: &PodId) -> Change {
        let reported = self.reported.get(id);
        let pod = match self.living.get(id) {
            Some(living) => self.with_sandbox(reported, living),
            None if self.ended.contains_key(id) => {
                reported.map(|pod| Pod { addresses: SharedSet::new(), ..pod.clone() })
            }
            None => reported.cloned(),
        };
        pod.map_or_else(|| Change::PodGone(id.clone()), Change::Pod)
    }

    fn with_sandbox(&self, reported: Option<&Pod>, living: &Living) -> Option<Pod> {
        let addresses = living.addresses();
        if addresses.is_empty() {
            return reported.cloned();
        }
        let node = Some(self.node_name.as_str().into());
        let Some(pod) = reported.filter(|pod| same_uid(&pod.uid, &living.sandbox.uid)) else {
            let Sandbox { pod, uid, labels, .. } = &living.sandbox;
            // Without labels, policy can't be known.
            let Some(labels) = labels.clone() else { return reported.cloned() };
            let (uid, addresses) = (uid.as_str().into(), addresses.clone().into());
            return Some(Pod { uid, labels, node, addresses, ..Pod::new(pod.clone()) });
        };
        let is_here = pod.node.as_ref().is_none_or(|it| *it == self.node_name);
        // A replaced sandbox has other addresses than the source shows, for a while.
        let is_fresh = (self.is_connected || living.by_cni) && !living.is_listed;
        let is_new = is_fresh && pod.addresses.iter().all(|it| !addresses.contains(it));
        if is_here && pod.is_peer() && (pod.addresses.is_empty() || is_new) {
            Some(Pod { node, addresses: addresses.clone().into(), ..pod.clone() })
        } else {
            Some(pod.clone())
        }
    }
}

/// Adds what only an earlier report of the same sandbox had.
fn complete(sandbox: &mut Sandbox, before: &Sandbox) {
    let Sandbox { labels, addresses, namespace, interfaces, .. } = before;
    if sandbox.labels.is_none() {
        sandbox.labels.clone_from(labels);
    }
    if sandbox.addresses.is_empty() {
        sandbox.addresses.clone_from(addresses);
    }
    sandbox.namespace = sandbox.namespace.or(*namespace);
    if sandbox.interfaces.is_empty() {
        sandbox.interfaces.clone_from(interfaces);
    }
}

#[cfg(test)]
mod tests;
