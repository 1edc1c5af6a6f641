//! Nodes and their pods on one machine, without a cluster.
//!
//! Here belong network namespaces, links, routes, servers and processes. What the pods are and
//! which connections are tried is decided elsewhere: [`session`](crate::session),
//! [`matrix`](crate::matrix).
//!
//! ```text
//!                 namespace "node"                      namespaces of the pods
//!   outside ═ eth0 ┬ cbr0 (kubenet) ┬ veth… ════ eth0   default.pod1
//!                  │                └ veth… ════ eth0   default.pod2
//!                  └ routes (azure-cni) ─ azv… ═ eth0   …
//!
//!   several nodes:  outside ══╗
//!                   node ═════╬ namespace "switch"
//!                   node2 ════╝
//! ```
//! Everything is created inside a [`Sandbox`] and in namespaces of the lab's own. The host's
//! interfaces, routes and sysctls stay unchanged, and nothing survives the process.

mod access_log;
mod agent;
mod cni;
mod confine;
mod crowd;
mod error;
mod fabric;
mod further;
pub(crate) mod kube_proxy;
mod links;
mod namespace;
mod node;
mod party;
mod pod;
mod proxy;
mod ready;
mod reconcile;
mod sandbox;
mod server;
mod services;
mod site;
mod status;
mod topology;
mod wiring;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use enforcer_core::model::{PodId, Service, ServiceId};

pub use access_log::AccessLog;
pub use agent::{Agent, AgentOptions, AgentSource, SPAWN_COMMAND, become_command, command_in};
pub use confine::agent_capabilities;
pub use crowd::{Crowd, Joined};
pub(crate) use error::Context;
pub use error::LabError;
pub use further::Distant;
pub use kube_proxy::Proxy;
pub use namespace::{Namespace, namespace_name};
pub use node::{LabNode, Layout};
pub use party::{Door, Frontend, Party};
pub use pod::{HostPod, PodNet, PodSpec};
pub use proxy::forward;
pub use sandbox::{LAB_DIR, Sandbox};
pub use server::Ports;
pub(crate) use server::{SERVICE_TCP, read_hello};
pub use site::{NODE_NAME, NODE_NAMESPACE, Site};
pub use topology::{Fabric, Family, MAX_NODES, OUTSIDE_CLIENTS, OutsideClient, Topology};

use links::Place;
use server::Servers;

/// A running lab: nodes, an outside host, and pods that come and go.
#[derive(Debug)]
pub struct Lab {
    layout: Layout,
    pods: BTreeMap<PodId, PodNet>,
    host_pods: BTreeMap<PodId, HostPod>,
    services: BTreeMap<ServiceId, Service>,
    /// The node that the load balancer sends each external address to.
    balanced: BTreeMap<IpAddr, usize>,
    state: PathBuf,
    nodes: Vec<LabNode>,
    outside_links: links::Links,
    outside: Namespace,
    access_log: Option<AccessLog>,
    _servers: Vec<Servers>,
    _switch: Option<Namespace>,
}

impl Lab {
    /// Creates a node without pods, and an outside host. The pods' status documents are written to
    /// `<directory>/state`, which is emptied first.
    ///
    /// # Errors
    /// The kernel reports an error, mostly for lack of privileges.
    pub async fn new(
        sandbox: &Sandbox,
        topology: Topology,
        directory: &Path,
    ) -> Result<Self, LabError> {
        Self::with_layout(sandbox, Layout::one_node(topology), directory).await
    }

    /// The same with any layout.
    pub async fn with_layout(
        sandbox: &Sandbox,
        layout: Layout,
        directory: &Path,
    ) -> Result<Self, LabError> {
        if !(1..=MAX_NODES).contains(&layout.nodes) {
            return Err(LabError::Nodes(layout.nodes));
        }
        sandbox.fresh_bpffs()?;
        let state = status::fresh_directory(directory)?;
        let mut nodes = Vec::new();
        for index in 0..layout.nodes {
            let site = Site::new(layout.topology, index);
            nodes.push(LabNode::new(site, layout.fabric).await?);
        }
        let (outside, outside_links) = wiring::namespace("outside", false).await?;
        let switch = match layout.nodes {
            1 => None,
            _ => Some(wiring::namespace("switch", false).await?),
        };
        let places: Vec<_> = nodes.iter().map(|node| (node.site, node.place())).collect();
        let outside_place = Place { namespace: &outside, links: &outside_links };
        let switch_place = switch.as_ref().map(|(namespace, links)| Place { namespace, links });
        fabric::connect(layout.fabric, &places, outside_place, switch_place).await?;
        let mut lab = Self {
            layout,
            pods: BTreeMap::new(),
            host_pods: BTreeMap::new(),
            services: BTreeMap::new(),
            balanced: BTreeMap::new(),
            state,
            nodes,
            outside_links,
            outside,
            access_log: None,
            _servers: Vec::new(),
            _switch: switch.map(|(namespace, _)| namespace),
        };
        lab.serve_nodes_and_outside().await?;
        Ok(lab)
    }

    async fn serve_nodes_and_outside(&mut self) -> Result<(), LabError> {
        let ports = Ports::of_hosts();
        for (index, node) in self.nodes.iter_mut().enumerate() {
            node.serve(&Party::node(index), &ports).await?;
        }
        for client in OUTSIDE_CLIENTS {
            let addresses = client.addresses();
            let name = Party::outside(client.name).to_string();
            self._servers.push(Servers::start(&self.outside, &name, &addresses, &ports).await?);
        }
        Ok(())
    }

    /// How pods are attached.
    pub fn topology(&self) -> Topology {
        self.layout.topology
    }

    /// The lab's layout.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The pods with a network of their own.
    pub fn pods(&self) -> &BTreeMap<PodId, PodNet> {
        &self.pods
    }

    /// The running pods, those in their node's network included: addresses, and the node's index.
    pub fn running(&self) -> impl Iterator<Item = (&PodId, &[IpAddr], usize)> {
        let pods = self.pods.iter().map(|(id, pod)| (id, pod.addresses(), pod.node()));
        let host_pods = self.host_pods.iter();
        pods.chain(host_pods.map(|(id, pod)| (id, pod.addresses(), pod.node())))
    }

    /// Sets where servers of later pods note their requests.
    pub fn set_access_log(&mut self, log: Option<AccessLog>) {
        self.access_log = log;
    }

    /// The directory of the pods' status documents, for the agent's second `--manifests`.
    pub fn state_directory(&self) -> &Path {
        &self.state
    }

    /// The nodes, at least one.
    pub fn nodes(&self) -> &[LabNode] {
        &self.nodes
    }

    /// The node with this index.
    pub fn node_at(&self, index: usize) -> Result<&LabNode, LabError> {
        self.nodes.get(index).ok_or_else(|| LabError::Unknown(Party::node(index)))
    }

    /// The index of the node with this name.
    pub fn node_named(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.site.name() == name)
    }

    /// The index of a party's node; `None` for outside clients and Services.
    pub fn node_of(&self, party: &Party) -> Option<usize> {
        match party {
            Party::Pod(id) => {
                let host = || self.host_pods.get(id).map(HostPod::node);
                self.pods.get(id).map(PodNet::node).or_else(host)
            }
            Party::Node => Some(0),
            Party::OtherNode(index) => Some(usize::from(*index)),
            Party::Outside(_) | Party::Service(_) => None,
        }
    }

    /// The first node's network namespace.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "there is at least one, see `with_layout`")]
    pub fn node(&self) -> &Arc<Namespace> {
        &self.nodes[0].namespace
    }

    /// All addresses of the first node (semantics A2) except link-local ones.
    pub fn node_addresses(&self) -> Vec<IpAddr> {
        self.nodes.first().map(|node| node.addresses.clone()).unwrap_or_default()
    }

    /// A node's source address towards other nodes' pods, also for masquerading.
    pub fn outward_address(&self, node: usize, family: Family) -> Result<IpAddr, LabError> {
        let [v4, v6] = self.node_at(node)?.outward(self.layout.fabric);
        Ok(match family {
            Family::V4 => v4,
            Family::V6 => v6,
        })
    }

    /// A party's network namespace.
    ///
    /// # Errors
    /// The party does not exist, or is a Service.
    pub fn namespace(&self, party: &Party) -> Result<&Namespace, LabError> {
        let unknown = || LabError::Unknown(party.clone());
        match party {
            Party::Pod(id) => {
                let host = || self.host_pods.get(id).map(|pod| pod.namespace.as_ref());
                self.pods.get(id).map(PodNet::namespace).or_else(host).ok_or_else(unknown)
            }
            Party::Node => Ok(self.node()),
            Party::OtherNode(index) => Ok(&self.node_at(usize::from(*index))?.namespace),
            Party::Outside(name) if OutsideClient::named(name).is_some() => Ok(&self.outside),
            Party::Outside(_) | Party::Service(_) => Err(unknown()),
        }
    }

    /// A party's address of one family, as a sender and as a receiver.
    pub fn address(&self, party: &Party, family: Family) -> Result<IpAddr, LabError> {
        let of = |addresses: &[IpAddr]| {
            addresses.iter().copied().find(|address| Family::of(*address) == family)
        };
        let found = match party {
            Party::Pod(id) => {
                let host = || self.host_pods.get(id).and_then(|pod| of(&pod.addresses));
                self.pods.get(id).and_then(|pod| of(&pod.addresses)).or_else(host)
            }
            Party::Node => of(&self.node_addresses()),
            Party::OtherNode(index) => of(self.node_at(usize::from(*index))?.addresses()),
            Party::Outside(name) => OutsideClient::named(name).and_then(|it| of(&it.addresses())),
            Party::Service(frontend) => self.frontend_address(frontend, family),
        };
        found.ok_or_else(|| LabError::Unknown(party.clone()))
    }
}
