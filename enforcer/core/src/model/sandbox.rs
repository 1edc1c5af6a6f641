//! Pods as the container runtime reports them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::id::PodId;
use super::labels::Labels;
use super::uid::Uid;

/// A pod's sandbox in the container runtime. It exists once the pod's network is set up, before its
/// containers start. The API server learns of it later, from the kubelet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// The runtime's id of the sandbox. A pod may have several, one after the other.
    pub id: String,
    /// The pod.
    pub pod: PodId,
    /// The pod's `metadata.uid`; empty if unknown, as for static pods.
    pub uid: String,
    /// The pod's labels at the creation of the sandbox; `None` if the runtime does not report them.
    /// Then the pod counts only once the API reports it.
    pub labels: Option<Labels>,
    /// The pod's addresses; empty if the runtime does not report them.
    pub addresses: BTreeSet<IpAddr>,
    /// The id of the pod's network namespace in the node's namespace, if known. It leads to the
    /// addresses if the runtime does not report them.
    pub namespace: Option<i32>,
    /// The names of the interfaces that its network consists of on the node, if the runtime reports
    /// them. Some are not the pod's, such as the bridge.
    pub interfaces: BTreeSet<String>,
}

/// Whether two UIDs may be of one pod. Pods of files may have none.
#[must_use]
pub fn same_uid(one: &Uid, other: &str) -> bool {
    one.is_empty() || other.is_empty() || one == other
}
