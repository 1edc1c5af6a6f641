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
        let mut routes = self.requests.routes()?;
        let own = self.requests.addresses(None)?;
        let configured = own.iter().filter(|it| it.global && it.permanent);
        let configured: BTreeSet<u32> = configured.map(|it| it.ifindex).collect();
        let mut snapshot = Snapshot::default();
        for link in links {
            let Link { ifindex, peer, inner, is_ethernet, .. } = link;
            let name = link.name.clone();
            let veth = peer.map(|peer| {
                let hosts = routes.hosts.remove(&ifindex).unwrap_or_default();
                self.other_end(link, peer, hosts)
            });
            // Where nodes are containers, an uplink may be a veth, too.
            let leads_out = configured.contains(&ifindex) && routes.defaults.contains(&ifindex);
            match veth {
                Some(interface) if !leads_out => snapshot.enter(interface),
                None if inner => {}
                veth => {
                    snapshot.uplinks.insert(ifindex, Uplink { name, is_ethernet, veth });
                }
            }
        }
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

    fn other_end(&self, link: Link, peer: Peer, routes: BTreeSet<IpAddr>) -> PodInterface {
        let Link { ifindex, name, identity, .. } = link;
        let Peer { ifindex: peer_ifindex, namespace } = peer;
        let inside = self.namespaces.get(&namespace).and_then(|it| it.get(&peer_ifindex));
        let addresses = inside.cloned().unwrap_or_default();
        PodInterface { ifindex, name, identity, addresses, routes, peer_ifindex, namespace }
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
