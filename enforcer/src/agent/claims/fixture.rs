//! A node's interfaces and pods, made of numbers and names.

use std::collections::BTreeSet;

use crate::node::{PodInterface, Snapshot};
use enforcer_core::model::PodId;

/// Interfaces by index and namespace.
pub(super) fn snapshot(interfaces: &[(u32, i32)]) -> Snapshot {
    let interface = |&(ifindex, namespace): &(u32, i32)| {
        let (name, addresses) = (format!("veth{ifindex}"), BTreeSet::new());
        (ifindex, PodInterface { ifindex, name, addresses, peer_ifindex: 2, namespace })
    };
    Snapshot { interfaces: interfaces.iter().map(interface).collect(), ..Snapshot::default() }
}

pub(super) fn pod(name: &str) -> PodId {
    PodId::new("default", name)
}
