//! A node and its pods on one machine, with no cluster.
//!
//! ```text
//!                 namespace "node"                      namespaces of the pods
//!   outside ═ eth0 ┬ cbr0 (kubenet) ┬ veth… ════ eth0   default-pod1
//!                  │                └ veth… ════ eth0   default-pod2
//!                  └ routes (azure-cni) ─ azv… ═ eth0   …
//! ```
//! Everything is made inside a [`Sandbox`] and inside namespaces of the lab's own; the host's
//! interfaces, routes and sysctls are not touched, and nothing survives the process.

mod agent;
mod error;
mod further;
mod links;
mod namespace;
mod party;
mod proxy;
mod ready;
mod sandbox;
mod server;
mod status;
mod topology;
mod wiring;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use enforcer::model::PodId;

pub use agent::{Agent, AgentOptions, SPAWN_COMMAND, become_command, command_in};
pub use error::LabError;
pub use further::Distant;
pub use namespace::Namespace;
pub use party::Party;
pub use proxy::forward;
pub use sandbox::{LAB_DIR, Sandbox};
pub use server::Ports;
pub(crate) use server::hello;
pub use topology::{Family, NODE_NAME, OUTSIDE_CLIENTS, OutsideClient, Topology};

use links::Links;
use server::Servers;
use topology::Hosts;
use wiring::{Interfaces, Place};

/// The node's namespace, as `ip netns` sees it.
pub const NODE_NAMESPACE: &str = "node";

/// The ports that outside clients and the node serve.
pub const SERVICE_TCP: u16 = 80;
/// See [`SERVICE_TCP`].
pub const SERVICE_UDP: u16 = 53;

/// A running lab: a node, an outside host, and pods that come and go.
#[derive(Debug)]
pub struct Lab {
    topology: Topology,
    pods: BTreeMap<PodId, PodNet>,
    hosts: Hosts,
    state: PathBuf,
    node_links: Links,
    node: Arc<Namespace>,
    outside: Namespace,
    outside_addresses: BTreeMap<String, Vec<IpAddr>>,
    _servers: Vec<Servers>,
}

/// A pod's place in the lab.
#[derive(Debug)]
pub struct PodNet {
    addresses: Vec<IpAddr>,
    ports: Ports,
    number: u8,
    interfaces: Interfaces,
    links: Links,
    _servers: Servers,
    namespace: Namespace,
}

impl PodNet {
    /// The pod's addresses, IPv4 first.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// What the pod serves.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// The pod's network namespace.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn place(&self) -> Place<'_> {
        Place { namespace: &self.namespace, links: &self.links }
    }

    /// The index of the pod's interface on the node.
    #[must_use]
    pub fn interface(&self) -> u32 {
        self.interfaces.host
    }
}

impl Lab {
    /// Makes a node without pods, and an outside host. The pods' status documents go to
    /// `<directory>/state`, which is emptied first.
    ///
    /// # Errors
    /// When the kernel refuses something, mostly for want of privilege.
    pub async fn new(
        sandbox: &Sandbox,
        topology: Topology,
        directory: &Path,
    ) -> Result<Self, LabError> {
        sandbox.fresh_bpffs()?;
        let state = status::fresh_directory(directory)?;
        let (node, node_links) = wiring::namespace(NODE_NAMESPACE, true).await?;
        let (outside, outside_links) = wiring::namespace("outside", false).await?;
        let node_place = Place { namespace: &node, links: &node_links };
        let outside_place = Place { namespace: &outside, links: &outside_links };
        wiring::node_and_outside(topology, node_place, outside_place).await?;
        let mut lab = Self {
            topology,
            pods: BTreeMap::new(),
            hosts: Hosts::default(),
            state,
            node_links,
            node: Arc::new(node),
            outside,
            outside_addresses: BTreeMap::new(),
            _servers: Vec::new(),
        };
        lab.serve_node_and_outside().await?;
        Ok(lab)
    }

    async fn serve_node_and_outside(&mut self) -> Result<(), LabError> {
        let ports = Ports { tcp: vec![SERVICE_TCP], udp: vec![SERVICE_UDP] };
        let name = Party::Node.to_string();
        let servers = Servers::start(&self.node, &name, &self.node_addresses(), &ports).await?;
        self._servers.push(servers);
        for client in OUTSIDE_CLIENTS {
            let addresses = vec![client.v4.into(), client.v6.into()];
            let name = Party::outside(client.name).to_string();
            self._servers.push(Servers::start(&self.outside, &name, &addresses, &ports).await?);
            self.outside_addresses.insert(client.name.to_owned(), addresses);
        }
        Ok(())
    }

    /// How pods are attached.
    #[must_use]
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// The pods.
    #[must_use]
    pub fn pods(&self) -> &BTreeMap<PodId, PodNet> {
        &self.pods
    }

    /// The directory of the pods' status documents, for the agent's second `--manifests`.
    #[must_use]
    pub fn state_directory(&self) -> &Path {
        &self.state
    }

    /// The node's network namespace.
    #[must_use]
    pub fn node(&self) -> &Arc<Namespace> {
        &self.node
    }

    /// All addresses of the node (semantics A2), link-local ones aside.
    #[must_use]
    pub fn node_addresses(&self) -> Vec<IpAddr> {
        self.topology.node_addresses()
    }

    /// Starts a pod: namespace, interface, addresses, servers and status document. It can be
    /// reached when this returns.
    ///
    /// # Errors
    /// When the subnet is full, the pod is already there, or the kernel refuses something.
    pub async fn add_pod(&mut self, id: &PodId, ports: Ports) -> Result<&PodNet, LabError> {
        self.start_pod(id, ports).await?;
        self.wait_for(&[id]).await?;
        self.pods.get(id).ok_or_else(|| LabError::Unknown(Party::Pod(id.clone())))
    }

    async fn start_pod(&mut self, id: &PodId, ports: Ports) -> Result<(), LabError> {
        let number = self.hosts.take().ok_or(LabError::Full)?;
        let pod = match self.build_pod(id, ports, number).await {
            Ok(pod) => pod,
            Err(error) => {
                self.hosts.give_back(number);
                return Err(error);
            }
        };
        status::write(&self.state, id, &pod.addresses)?;
        self.pods.insert(id.clone(), pod);
        Ok(())
    }

    fn node_place(&self) -> Place<'_> {
        Place { namespace: &self.node, links: &self.node_links }
    }

    async fn wait_for(&self, ids: &[&PodId]) -> Result<(), LabError> {
        let pods = ids.iter().filter_map(|id| self.pods.get(id));
        let pods: Vec<_> = pods.map(|pod| (pod.place(), pod.interfaces)).collect();
        wiring::wait_until_ready(self.topology, self.node_place(), &pods).await
    }

    async fn build_pod(&self, id: &PodId, ports: Ports, number: u8) -> Result<PodNet, LabError> {
        let (namespace, links) = wiring::namespace(&namespace_name(id), false).await?;
        let pod = Place { namespace: &namespace, links: &links };
        let interfaces = wiring::attach(self.topology, self.node_place(), pod, number).await?;
        let addresses: Vec<IpAddr> = self.topology.host(number).map(|net| net.addr()).to_vec();
        let servers = Servers::start(&namespace, &id.to_string(), &addresses, &ports).await?;
        Ok(PodNet { addresses, ports, number, interfaces, links, _servers: servers, namespace })
    }

    /// Stops a pod; its address is free again. Nothing happens where there is no such pod.
    ///
    /// # Errors
    /// When the pod's interface cannot be removed.
    pub async fn remove_pod(&mut self, id: &PodId) -> Result<(), LabError> {
        let Some(pod) = self.pods.remove(id) else { return Ok(()) };
        status::remove(&self.state, id)?;
        self.node_links.delete(pod.interfaces.host).await?;
        self.hosts.give_back(pod.number);
        Ok(())
    }

    /// Starts and stops pods until exactly `wanted` are there. A pod whose ports changed is
    /// replaced.
    ///
    /// # Errors
    /// As [`Self::add_pod`] and [`Self::remove_pod`].
    pub async fn reconcile(&mut self, wanted: &BTreeMap<PodId, Ports>) -> Result<(), LabError> {
        let stale: Vec<PodId> = self
            .pods
            .iter()
            .filter(|(id, pod)| wanted.get(id) != Some(&pod.ports))
            .map(|(id, _)| id.clone())
            .collect();
        for id in &stale {
            self.remove_pod(id).await?;
        }
        let new: Vec<&PodId> = wanted.keys().filter(|id| !self.pods.contains_key(id)).collect();
        for id in &new {
            self.start_pod(id, wanted.get(id).cloned().unwrap_or_default()).await?;
        }
        if new.is_empty() { Ok(()) } else { self.wait_for(&new).await }
    }

    /// Where a party's processes run.
    ///
    /// # Errors
    /// When the lab has no such party.
    pub fn namespace(&self, party: &Party) -> Result<&Namespace, LabError> {
        let unknown = || LabError::Unknown(party.clone());
        match party {
            Party::Pod(id) => self.pods.get(id).map(PodNet::namespace).ok_or_else(unknown),
            Party::Node => Ok(&self.node),
            Party::Outside(name) if self.outside_addresses.contains_key(name) => Ok(&self.outside),
            Party::Outside(_) => Err(unknown()),
        }
    }

    /// A party's address of one family: what it sends from and is reached at.
    ///
    /// # Errors
    /// When the lab has no such party.
    pub fn address(&self, party: &Party, family: Family) -> Result<IpAddr, LabError> {
        let of = |addresses: &[IpAddr]| {
            addresses.iter().copied().find(|address| Family::of(*address) == family)
        };
        let found = match party {
            Party::Pod(id) => self.pods.get(id).and_then(|pod| of(&pod.addresses)),
            Party::Node => of(&self.node_addresses()),
            Party::Outside(name) => self.outside_addresses.get(name).and_then(|all| of(all)),
        };
        found.ok_or_else(|| LabError::Unknown(party.clone()))
    }
}

/// The name of a pod's namespace for `ip netns exec` inside the lab.
#[must_use]
pub fn namespace_name(id: &PodId) -> String {
    format!("{}.{}", id.namespace, id.name)
}
