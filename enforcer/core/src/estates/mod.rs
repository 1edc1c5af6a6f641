//! Generated clusters for benches and tests of scale: large ones, and ones with greedy tenants.
//!
//! What belongs here: deterministic clusters of a given size. What does not: random ones that look
//! for mistakes, which are in the workspace's tests.

mod greedy;
mod large;

pub use greedy::Greedy;
pub use large::Large;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::model::{Cluster, Labels, Pod, PodId};
use crate::tables::{Interface, Owner};

/// The name of this node in all estates.
pub const NODE: &str = "node-0";

/// The pods of the cluster that run on [`NODE`].
#[must_use]
pub fn local(cluster: &Cluster) -> BTreeSet<PodId> {
    let here = cluster.pods.values().filter(|pod| pod.node.as_deref() == Some(NODE));
    here.map(|pod| pod.id.clone()).collect()
}

/// An interface for each of these pods, by index.
#[must_use]
pub fn interfaces(
    cluster: &Cluster,
    local: &BTreeSet<PodId>,
) -> std::collections::BTreeMap<u32, Interface> {
    let interface = |id: &PodId| Interface {
        owner: Owner::Pod(id.clone()),
        uid: String::new(),
        identity: 0,
        addresses: cluster.pods.get(id).map(|pod| pod.addresses.to_set()).unwrap_or_default(),
        check_source: true,
    };
    (2..).zip(local.iter().map(interface)).collect()
}

/// A running pod with one address.
fn pod(namespace: &str, name: String, labels: Labels, address: u32) -> Pod {
    let addresses = [IpAddr::from(Ipv4Addr::from(address))].into();
    Pod { labels, addresses, ..Pod::new(PodId::new(namespace, name)) }
}

/// Labels of these keys and values.
fn labels<const N: usize>(pairs: [(&str, String); N]) -> Labels {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
