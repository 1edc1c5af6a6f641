//! Pods as the container runtime has them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Labels, PodId};

/// What a container runtime says of a pod that it runs: there once its network is, before its
/// containers. The API server learns it later, from the kubelet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// The runtime's name for it. A pod may have several, one after the other.
    pub id: String,
    /// The pod.
    pub pod: PodId,
    /// The pod's `metadata.uid`; empty where that is not known, as of static pods.
    pub uid: String,
    /// The pod's labels when the sandbox was made.
    pub labels: Labels,
    /// Its addresses; empty where the runtime does not say.
    pub addresses: BTreeSet<IpAddr>,
    /// The id that this node's network namespace gives the pod's, where it was found out. It finds
    /// the addresses where the runtime does not say.
    pub namespace: Option<i32>,
}
