//! The node's interfaces and addresses, from netlink, and the pod behind each interface.
//!
//! ```text
//! events (all namespaces) ─► stale state ─┐
//!                                         ▼
//!          requests (dumps) ─► message ─► view ─► Snapshot ─► assign (+ Cluster) ─► Assignment
//! ```
//! Belongs here: reading the state of the network namespaces. Does not belong here: changing it,
//! and the history of interfaces and pods (`agent`).
//!
//! A host-side veth has its peer's index and namespace id. The addresses inside that namespace are
//! listed without entering it. This depends on no names, bridges, routes or pod ranges, so it works
//! alike on bridged (kubenet) and routed nodes (Azure CNI, transparent mode). A veth with a default
//! route is an uplink and not a pod's: that is so where nodes are containers.
//!
//! Rights needed in the node's network namespace: `CAP_NET_ADMIN` (to list the addresses of other
//! namespaces) and `CAP_NET_BROADCAST` (to receive their events). Linux 5.0 or later.

mod assign;
mod events;
mod message;
mod namespace;
mod requests;
mod view;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Instant;

use netlink_packet_core::DecodeError;

pub use assign::{Assignment, assign};
pub use namespace::namespace_id;
pub use view::snapshot;
pub use watch::{Request, watch};

/// The host side of a veth pair whose other end is in another network namespace and has at least
/// one address of global scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodInterface {
    /// Index of the host-side interface.
    pub ifindex: u32,
    /// Name of the host-side interface.
    pub name: String,
    /// The global-scope addresses of the other end, including secondary ones.
    pub addresses: BTreeSet<IpAddr>,
    /// Index of the other end, within its namespace.
    pub peer_ifindex: u32,
    /// The id that this namespace has for the other end's namespace.
    pub namespace: i32,
}

/// An interface that leads out of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// Its name.
    pub name: String,
    /// Whether its packets have Ethernet headers; those of tun, WireGuard and IP tunnels have none.
    pub is_ethernet: bool,
}

/// The interfaces and addresses of the node at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Pod interfaces by the index of their host side.
    pub interfaces: BTreeMap<u32, PodInterface>,
    /// Names of the interfaces that lead to another namespace but have no global-scope address
    /// there yet, by index: pods that are being set up (semantics C6).
    pub unaddressed: BTreeMap<u32, String>,
    /// The interfaces that lead out of the node, by index: all except those that lead to a pod or to
    /// the node itself, and bridges (their ports count instead).
    pub uplinks: BTreeMap<u32, Uplink>,
    /// Every address of this namespace, including loopback and link-local ones (semantics A2).
    pub node_addresses: BTreeSet<IpAddr>,
}

/// A snapshot from [`watch`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// The node.
    pub snapshot: Snapshot,
    /// When the first event that caused it arrived; `None` for the first snapshot.
    pub received_at: Option<Instant>,
}

/// An error of reading the node's interfaces and addresses.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A netlink socket can't be opened or used.
    #[error("cannot {what}")]
    Socket {
        /// The operation that failed.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A list can't be requested.
    #[error("cannot list {what} by netlink")]
    Request {
        /// The kind of list.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A list can't be decoded.
    #[error("cannot read the kernel's list of {what}")]
    Malformed {
        /// The kind of list.
        what: &'static str,
        /// The first mistake in it.
        source: DecodeError,
    },
    /// A list changed during each attempt to read it.
    #[error("the kernel's list of {what} changed during each attempt to read it")]
    Interrupted {
        /// The kind of list.
        what: &'static str,
    },
    /// The runtime is shutting down.
    #[error("the runtime stopped while the node's interfaces were read")]
    Stopped,
}
