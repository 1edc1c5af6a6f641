//! Addresses for pods that have none yet: manifests describe pods before they run.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use enforcer_core::model::{Cluster, PodId};
use ipnet::IpNet;

/// The range of the assumed addresses: the usual one of kubeadm, kind and AKS overlay networks.
pub const DEFAULT_POD_CIDR: &str = "10.244.0.0/16";

/// Assigns an address of the range to each pod without one, the same in all clusters. Returns these
/// pods. Without an address a pod would be no subject and no peer (semantics S1).
pub(super) fn assume(clusters: &mut [&mut Cluster], range: IpNet) -> BTreeSet<PodId> {
    let pods = || clusters.iter().flat_map(|it| it.pods.values());
    let taken: BTreeSet<IpAddr> = pods().flat_map(|it| it.addresses.iter().copied()).collect();
    let waiting = pods().filter(|it| it.addresses.is_empty() && it.is_peer());
    let waiting: BTreeSet<PodId> = waiting.map(|it| it.id.clone()).collect();
    let free = range.hosts().filter(|it| !taken.contains(it));
    let assumed: BTreeMap<PodId, IpAddr> = waiting.into_iter().zip(free).collect();
    for cluster in clusters.iter_mut() {
        for (id, address) in &assumed {
            if let Some(pod) = cluster.pods.get_mut(id).filter(|it| it.addresses.is_empty()) {
                pod.addresses.insert(*address);
            }
        }
    }
    assumed.into_keys().collect()
}
