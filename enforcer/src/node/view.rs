//! The node's interfaces and addresses. Events decide which namespaces are listed again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::events::Stale;
use super::message::{Link, Peer};
use super::requests::Requests;
use super::{NodeError, PodInterface, Snapshot, Uplink};

/// The global-scope addresses of a namespace, by interface index.
type Addresses = BTreeMap<u32, BTreeSet<IpAddr>>;

/// The node, as seen from one network namespace.
pub(super) struct View {
    requests: Requests,
    /// The addresses in each namespace that a veth of this one leads to, by namespace id.
    namespaces: BTreeMap<i32, Addresses>,
}

impl View {
    /// A view from the network namespace of the calling thread.
    pub(super) fn open() -> Result<Self, NodeError> {
        Ok(Self { requests: Requests::open()?, namespaces: BTreeMap::new() })
    }

    /// Lists this namespace, and others that are new or stale. After an error, all are stale.
    pub(super) fn refresh(&mut self, stale: &Stale) -> Result<Snapshot, NodeError> {
        if stale.all {
            self.namespaces.clear();
        }
        self.namespaces.retain(|id, _| !stale.namespaces.contains(id));
        let links = self.requests.links()?;
        self.list_namespaces(&links)?;
        let defaults = self.requests.default_routes()?;
        let mut snapshot = Snapshot::default();
        for link in links {
            match link.peer {
                // Where nodes are containers, an uplink may be a veth, too.
                Some(peer) if !defaults.contains(&link.ifindex) => {
                    self.enter(&mut snapshot, link, peer);
                }
                _ if link.inner => {}
                _ => {
                    let Link { ifindex, name, is_ethernet, .. } = link;
                    snapshot.uplinks.insert(ifindex, Uplink { name, is_ethernet });
                }
            }
        }
        let own = self.requests.addresses(None)?;
        snapshot.node_addresses = own.into_iter().map(|it| it.address).collect();
        Ok(snapshot)
    }

    /// Lists the namespaces that `links` lead to, unless remembered, and forgets all others.
    fn list_namespaces(&mut self, links: &[Link]) -> Result<(), NodeError> {
        let peers = links.iter().filter_map(|link| link.peer);
        // A namespace without an id is being destroyed.
        let ids: BTreeSet<i32> = peers.map(|it| it.namespace).filter(|id| *id >= 0).collect();
        self.namespaces.retain(|id, _| ids.contains(id));
        for id in ids {
            if !self.namespaces.contains_key(&id) {
                let addresses = self.addresses(id)?;
                self.namespaces.insert(id, addresses);
            }
        }
        Ok(())
    }

    fn addresses(&mut self, id: i32) -> Result<Addresses, NodeError> {
        let mut addresses = Addresses::new();
        match self.requests.addresses(Some(id)) {
            Ok(list) => {
                for it in list.into_iter().filter(|it| it.global) {
                    addresses.entry(it.ifindex).or_default().insert(it.address);
                }
            }
            // The namespace vanished since the interfaces were listed; an event will follow.
            Err(NodeError::Request { source, .. }) if means_gone(&source) => {
                tracing::debug!(namespace = id, "network namespace is gone: {source}");
            }
            Err(error) => return Err(error),
        }
        Ok(addresses)
    }

    fn enter(&self, snapshot: &mut Snapshot, link: Link, peer: Peer) {
        let Link { ifindex, name, .. } = link;
        let inside = self.namespaces.get(&peer.namespace);
        let Some(addresses) = inside.and_then(|it| it.get(&peer.ifindex)).cloned() else {
            snapshot.unaddressed.insert(ifindex, name);
            return;
        };
        let Peer { ifindex: peer_ifindex, namespace } = peer;
        let interface = PodInterface { ifindex, name, addresses, peer_ifindex, namespace };
        snapshot.interfaces.insert(ifindex, interface);
    }
}

/// Lists the node once, from the network namespace of the calling thread.
///
/// # Errors
/// See [`NodeError`]. A pod that vanishes meanwhile is not an error.
pub fn snapshot() -> Result<Snapshot, NodeError> {
    View::open()?.refresh(&Stale::everything())
}

/// Whether this is the kernel's answer to the id of a namespace that does not exist.
fn means_gone(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENODEV | libc::ENOENT))
}
