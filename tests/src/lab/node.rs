//! Nodes in the lab.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::Context as _;
use super::kube_proxy::{KubeProxy, Proxy, ProxyNode};
use super::links::{Links, Place};
use super::sandbox::{LAB_DIR, mount_bpf};
use super::server::Servers;
use super::site::{NODE_NAMESPACE, Site};
use super::topology::{Fabric, Hosts, Topology};
use super::wiring;
use super::{LabError, Namespace, Party, Ports};

/// The shape of a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// How pods are attached.
    pub topology: Topology,
    /// The number of nodes, at most [`MAX_NODES`](super::MAX_NODES).
    pub nodes: u8,
    /// How the nodes reach each other's pods.
    pub fabric: Fabric,
}

impl Layout {
    /// A layout with one node.
    pub const fn one_node(topology: Topology) -> Self {
        Self { topology, nodes: 1, fabric: Fabric::Routed }
    }
}

/// A node.
#[derive(Debug)]
pub struct LabNode {
    pub(super) site: Site,
    pub(super) hosts: Hosts,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) links: Links,
    pub(super) namespace: Arc<Namespace>,
    pub(super) bpffs: Option<PathBuf>,
    pub(super) kube_proxy: Option<KubeProxy>,
    _servers: Servers,
}

impl LabNode {
    /// Creates the node's namespace, still unconnected.
    pub(super) async fn new(site: Site, fabric: Fabric) -> Result<Self, LabError> {
        let (namespace, links) = wiring::namespace(&site.namespace(), true).await?;
        let node = Self {
            site,
            hosts: Hosts::default(),
            addresses: site.addresses(fabric),
            links,
            namespace: Arc::new(namespace),
            bpffs: own_bpffs(site)?,
            kube_proxy: None,
            _servers: Servers::default(),
        };
        // Those of an earlier lab in this sandbox are stale.
        let results = node.cni_results();
        if results.exists() {
            fs::remove_dir_all(&results).context(results.display().to_string())?;
        }
        fs::create_dir_all(&results).context(results.display().to_string())?;
        Ok(node)
    }

    pub(super) async fn serve(&mut self, party: &Party, ports: &Ports) -> Result<(), LabError> {
        let name = party.to_string();
        self._servers = Servers::start(&self.namespace, &name, &self.addresses, ports).await?;
        Ok(())
    }

    /// The node's names and addresses.
    pub fn site(&self) -> Site {
        self.site
    }

    /// All of the node's addresses (semantics A2) except link-local ones; the uplink's first.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The node's network namespace.
    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// The path where the node's container runtime would listen for plugins.
    pub fn runtime_socket(&self) -> PathBuf {
        Path::new(LAB_DIR).join(format!("nri-{}.sock", self.site.namespace()))
    }

    /// The directory of the container runtime's CNI results.
    pub fn cni_results(&self) -> PathBuf {
        Path::new(LAB_DIR).join(format!("cni-{}", self.site.namespace())).join("results")
    }

    /// The node's BPF file system, if it is not the sandbox's.
    pub fn bpffs(&self) -> Option<&Path> {
        self.bpffs.as_deref()
    }

    /// The node's source addresses towards other nodes and their pods.
    pub(super) fn outward(&self, fabric: Fabric) -> [IpAddr; 2] {
        match fabric {
            Fabric::Routed => self.site.uplink().map(|net| net.addr()),
            Fabric::Vxlan => self.site.tunnel().map(|net| net.addr()),
        }
    }

    /// The node from its kube-proxy's point of view.
    pub(crate) fn as_proxy_node(&self) -> ProxyNode {
        ProxyNode {
            name: self.site.name(),
            addresses: self.site.uplink().map(|net| net.addr()).to_vec(),
            pod_ranges: self.site.topology().pod_ranges().to_vec(),
        }
    }

    pub(super) fn place(&self) -> Place<'_> {
        Place { namespace: &self.namespace, links: &self.links }
    }

    /// The node's kube-proxy, created if necessary.
    pub(super) async fn kube_proxy(&mut self, proxy: Proxy) -> Result<&mut KubeProxy, LabError> {
        if self.kube_proxy.as_ref().is_none_or(|it| it.proxy() != proxy) {
            proxy.check()?;
            self.prepare_for_services().await?;
        }
        let node = self.as_proxy_node();
        Ok(self.kube_proxy.get_or_insert_with(|| KubeProxy::new(proxy, node)))
    }

    /// On a bridge, replies of a backend to a pod of the same node are translated back only if
    /// netfilter sees bridged frames.
    async fn prepare_for_services(&self) -> Result<(), LabError> {
        if self.site.topology() == Topology::AzureCni {
            return Ok(());
        }
        const SETTINGS: [&str; 2] =
            ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"];
        let exists = || Ok(Path::new("/proc/sys/net").join(SETTINGS[0]).exists());
        if !self.namespace.io("look for br_netfilter", exists).await? {
            let why = "Services on a bridge need the kernel module br_netfilter; load it with: \
                       modprobe br_netfilter";
            return Err(LabError::NoProxy(why.to_owned()));
        }
        self.namespace.sysctl(SETTINGS.map(|key| (key.to_owned(), "1")).to_vec()).await
    }
}

/// The node's own BPF file system; the first node uses the sandbox's. Real nodes share none either.
fn own_bpffs(site: Site) -> Result<Option<PathBuf>, LabError> {
    if site.namespace() == NODE_NAMESPACE {
        return Ok(None);
    }
    let path = Path::new(LAB_DIR).join(format!("bpf-{}", site.namespace()));
    mount_bpf(&path)?;
    Ok(Some(path))
}
