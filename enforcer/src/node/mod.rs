//! The node as netlink shows it: which host-side interface leads to which pod.
//!
//! ```text
//! events (all namespaces) ─► what may have changed ─┐
//!                                                   ▼
//!                    requests (dumps) ─► view ─► Snapshot ─► assign (+ Cluster) ─► Assignment
//! ```
//! A host-side veth names its peer's index and namespace id; the addresses inside that namespace
//! are listed without entering it. Nothing is assumed of names, bridges, routes or pod ranges, so
//! bridged (kubenet) and routed (Azure CNI, transparent mode) nodes look alike here. A veth that
//! a default route leads to is the node's own way out, and no pod's: where nodes are containers.
//!
//! Rights needed in the node's network namespace: `CAP_NET_ADMIN` (to list the addresses of other
//! namespaces) and `CAP_NET_BROADCAST` (to hear of changes in them). Linux 5.0 or later.

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
pub use watch::{Request, watch};

/// The host side of a veth pair whose other end is in another network namespace and has at least
/// one address of global scope there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodInterface {
    /// Index of the host-side interface.
    pub ifindex: u32,
    /// Name of the host-side interface.
    pub name: String,
    /// The global-scope addresses of the other end, secondary ones included.
    pub addresses: BTreeSet<IpAddr>,
    /// Index of the other end, within its namespace.
    pub peer_ifindex: u32,
    /// The id that this namespace gives the other end's namespace.
    pub namespace: i32,
}

/// The interfaces and addresses of the node at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Pod interfaces by the index of their host side.
    pub interfaces: BTreeMap<u32, PodInterface>,
    /// Names of the interfaces that lead to another namespace but have no global-scope address
    /// there (yet), by index: pods that are being set up (semantics C6).
    pub unaddressed: BTreeMap<u32, String>,
    /// Names of the interfaces by which packets leave the node, by index: all that lead neither
    /// to a pod, nor to the node itself, nor to a bridge (whose ports are looked at instead).
    pub uplinks: BTreeMap<u32, String>,
    /// Every address of this namespace, loopback and link-local ones included (semantics A2).
    pub node_addresses: BTreeSet<IpAddr>,
}

/// What [`watch`] has seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// The node.
    pub snapshot: Snapshot,
    /// When the first news of it came, before any waiting for more; `None`: there was none, it was
    /// looked at for the first time.
    pub heard: Option<Instant>,
}

/// Why the node can't be seen.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A netlink socket can't be had, or not with the rights that it needs.
    #[error("cannot {what}")]
    Socket {
        /// What failed.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The kernel refused to list something.
    #[error("cannot list {what} by netlink")]
    Request {
        /// What was to be listed.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel sent something that can't be read.
    #[error("cannot read the kernel's list of {what}")]
    Malformed {
        /// What was to be listed.
        what: &'static str,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The list changed under way each time it was asked for.
    #[error("the kernel's list of {what} changed each time while it was read")]
    Interrupted {
        /// What was to be listed.
        what: &'static str,
    },
    /// The runtime is shutting down.
    #[error("the runtime stopped while the node's interfaces were read")]
    Stopped,
}

/// Looks at the node once, from the network namespace of the calling thread.
///
/// # Errors
/// See [`NodeError`]. A pod that vanishes meanwhile is no error.
pub fn snapshot() -> Result<Snapshot, NodeError> {
    view::View::open()?.refresh(&events::Stale::everything())
}
