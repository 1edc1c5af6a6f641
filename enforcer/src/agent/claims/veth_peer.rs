//! The identity of a veth interface: its other end.

use crate::node::Snapshot;

/// The network namespace of the other end, and the other end's index there. An interface index may
/// be reused; both together with the index identify an interface.
pub(super) type VethPeer = (i32, u32);

/// The other end of an interface with addresses; `None` if there is no such interface.
pub(super) fn veth_peer(snapshot: &Snapshot, ifindex: u32) -> Option<VethPeer> {
    snapshot.interfaces.get(&ifindex).map(|it| (it.namespace, it.peer_ifindex))
}
