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
//! alike on bridged (kubenet) and routed nodes (Azure CNI, transparent mode). Where nodes are
//! containers, a veth may also be an uplink: it has an address of the node and a default route that
//! an administrator or a DHCP client made. Routes and addresses that the kernel learns from router
//! advertisements do not count: a pod can send these.
//!
//! Rights needed in the node's network namespace: `CAP_NET_ADMIN` (to list the addresses of other
//! namespaces) and `CAP_NET_BROADCAST` (to receive their events). Linux 5.0 or later.

mod assign;
mod events;
mod identity;
mod message;
mod namespace;
mod requests;
mod routes;
mod view;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Instant;

use netlink_packet_core::DecodeError;

pub use assign::{Assignment, assign};
pub use identity::identity;
pub use namespace::namespace_id;
pub use view::snapshot;
pub use watch::{Request, watch};

/// The host side of a veth pair whose other end is in another network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodInterface {
    /// Index of the host-side interface.
    pub ifindex: u32,
    /// Name of the host-side interface.
    pub name: String,
    /// A hash of the host side's name and hardware address, which the pod cannot change. It
    /// distinguishes interfaces that had the same index one after the other.
    pub identity: u32,
    /// The global-scope addresses of the other end, including secondary ones. The pod can change
    /// these.
    pub addresses: BTreeSet<IpAddr>,
    /// The destinations of the node's host routes to this interface, as CNI plugins make them.
    pub routes: BTreeSet<IpAddr>,
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
    /// The details if it is a veth to another namespace, as where nodes are containers. It is an
    /// uplink unless it is known to be a pod's.
    pub veth: Option<PodInterface>,
}

/// The interfaces and addresses of the node at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Pod interfaces with at least one address of global scope, by the index of their host side.
    pub interfaces: BTreeMap<u32, PodInterface>,
    /// The interfaces that lead to another namespace but have no global-scope address there, by index:
    /// pods that are being set up (semantics C6), or that removed their addresses.
    pub unaddressed: BTreeMap<u32, PodInterface>,
    /// The interfaces that lead out of the node, by index: all except those that lead to a pod or only
    /// to the node itself, and bridges (their ports count instead).
    pub uplinks: BTreeMap<u32, Uplink>,
    /// Every address of this namespace, including loopback and link-local ones (semantics A2).
    pub node_addresses: BTreeSet<IpAddr>,
}

impl Snapshot {
    /// The interface that leads to another namespace, with or without addresses there.
    #[must_use]
    pub fn veth(&self, ifindex: u32) -> Option<&PodInterface> {
        self.interfaces.get(&ifindex).or_else(|| self.unaddressed.get(&ifindex))
    }

    /// All interfaces that lead to another namespace and are no uplinks.
    pub fn veths(&self) -> impl Iterator<Item = &PodInterface> {
        self.interfaces.values().chain(self.unaddressed.values())
    }

    /// Adds an interface that leads to another namespace.
    pub(crate) fn enter(&mut self, interface: PodInterface) {
        let map = match interface.addresses.is_empty() {
            true => &mut self.unaddressed,
            false => &mut self.interfaces,
        };
        map.insert(interface.ifindex, interface);
    }
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
