//! The pods by address, kept up to date with each change to a pod.
//!
//! Drop records read it while the reconciler works: a lock is held for one change or one look-up.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use enforcer_core::model::{Change, Cluster, Pod, PodId};

/// The peers (semantics R4) that have each address.
#[derive(Debug, Default)]
pub(super) struct PodAddresses {
    /// The pod that was reported last.
    latest: HashMap<IpAddr, PodId>,
    /// Earlier pods that still have the address, the latest last. Rare: an address that was reused
    /// before its former pod was gone.
    earlier: BTreeMap<IpAddr, Vec<PodId>>,
}

impl PodAddresses {
    /// The addresses of a cluster's pods.
    #[cfg(test)]
    pub(super) fn of(cluster: &Cluster) -> Self {
        let mut addresses = Self::default();
        cluster.pods.values().for_each(|pod| addresses.set(None, Some(pod)));
        addresses
    }

    /// Notes the effect of a change that the cluster is about to apply.
    pub(super) fn note(&mut self, change: &Change, cluster: &Cluster) {
        match change {
            Change::Pod(pod) => self.set(cluster.pods.get(&pod.id), Some(pod)),
            Change::PodGone(id) => self.set(cluster.pods.get(id), None),
            _ => {}
        }
    }

    fn set(&mut self, before: Option<&Pod>, after: Option<&Pod>) {
        let (before, after) = (before.filter(|it| it.is_peer()), after.filter(|it| it.is_peer()));
        let has = |pod: Option<&Pod>, address| pod.is_some_and(|it| it.addresses.contains(address));
        if let Some(pod) = before {
            let lost: Vec<_> = pod.addresses.iter().filter(|it| !has(after, *it)).collect();
            if !lost.is_empty() {
                lost.into_iter().for_each(|it| self.remove(it, &pod.id));
            }
        }
        if let Some(pod) = after {
            let new = pod.addresses.iter().filter(|it| !has(before, *it));
            new.for_each(|it| self.add(*it, pod.id.clone()));
        }
    }

    fn add(&mut self, address: IpAddr, pod: PodId) {
        if let Some(former) = self.latest.insert(address, pod) {
            self.earlier.entry(address).or_default().push(former);
        }
    }

    fn remove(&mut self, address: &IpAddr, pod: &PodId) {
        let earlier = self.earlier.get_mut(address);
        if self.latest.get(address).is_some_and(|it| it == pod) {
            match earlier.and_then(Vec::pop) {
                Some(former) => self.latest.insert(*address, former),
                None => self.latest.remove(address),
            };
        } else if let Some(earlier) = earlier {
            earlier.retain(|it| it != pod);
        }
        if self.earlier.get(address).is_some_and(Vec::is_empty) {
            self.earlier.remove(address);
        }
    }

    /// The name of the pod that was the last one reported with the address.
    pub(super) fn name(&self, address: &IpAddr) -> Option<String> {
        self.latest.get(address).map(ToString::to_string)
    }

    /// All pods that have the address.
    pub(super) fn pods<'a>(&self, address: &IpAddr, cluster: &'a Cluster) -> Vec<&'a Pod> {
        let earlier = self.earlier.get(address).into_iter().flatten();
        let ids = earlier.chain(self.latest.get(address));
        ids.filter_map(|id| cluster.pods.get(id)).collect()
    }
}

/// The addresses, shared with the drop records.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedPodAddresses(Arc<RwLock<PodAddresses>>);

impl SharedPodAddresses {
    /// As [`PodAddresses::note`].
    pub(super) fn note(&self, change: &Change, cluster: &Cluster) {
        if matches!(change, Change::Pod(_) | Change::PodGone(_)) {
            let mut addresses = self.0.write().unwrap_or_else(PoisonError::into_inner);
            addresses.note(change, cluster);
        }
    }

    /// The addresses; a change waits until this is dropped.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, PodAddresses> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pod(number: u8, addresses: &[u8], finished: bool) -> Pod {
        let addresses = addresses.iter().map(|it| IpAddr::from([10, 0, 0, *it])).collect();
        let id = PodId::new("a", format!("pod{number}"));
        Pod { addresses, finished, ..Pod::new(id) }
    }

    fn change((number, addresses, finished, gone): (u8, Vec<u8>, bool, bool)) -> Change {
        let pod = pod(number, &addresses, finished);
        if gone { Change::PodGone(pod.id) } else { Change::Pod(pod) }
    }

    #[test]
    fn an_address_names_the_pod_that_was_reported_last_while_it_has_it() {
        let (mut addresses, mut cluster) = (PodAddresses::default(), Cluster::default());
        let mut take = |change: Change| {
            addresses.note(&change, &cluster);
            cluster.apply(change);
            addresses.name(&IpAddr::from([10, 0, 0, 1]))
        };
        assert_eq!(take(Change::Pod(pod(1, &[1], false))).as_deref(), Some("a/pod1"));
        assert_eq!(take(Change::Pod(pod(2, &[1, 2], false))).as_deref(), Some("a/pod2"));
        assert_eq!(take(Change::Pod(pod(2, &[2], false))).as_deref(), Some("a/pod1"));
        assert_eq!(take(Change::Pod(pod(2, &[1], false))).as_deref(), Some("a/pod2"));
        assert_eq!(take(Change::PodGone(PodId::new("a", "pod1"))).as_deref(), Some("a/pod2"));
        assert_eq!(take(Change::Pod(pod(2, &[1], true))), None);
    }

    proptest! {
        /// After any history the addresses are those of a scan of all pods.
        #[test]
        fn the_addresses_equal_a_scan(history in prop::collection::vec(
            (0_u8..5, prop::collection::vec(0_u8..4, 0..3), any::<bool>(), any::<bool>()), 0..40,
        )) {
            let (mut addresses, mut cluster) = (PodAddresses::default(), Cluster::default());
            for change in history.into_iter().map(change) {
                addresses.note(&change, &cluster);
                cluster.apply(change);
                for address in (0..4).map(|it| IpAddr::from([10, 0, 0, it])) {
                    let mut found = addresses.pods(&address, &cluster);
                    found.sort_by_key(|it| &it.id);
                    let has = |it: &&Pod| it.is_peer() && it.addresses.contains(&address);
                    let scanned: Vec<&Pod> = cluster.pods.values().filter(has).collect();
                    prop_assert_eq!(addresses.name(&address).is_some(), !scanned.is_empty());
                    prop_assert_eq!(found, scanned);
                }
            }
            prop_assert!(addresses.latest.len() <= 4);
        }
    }
}
