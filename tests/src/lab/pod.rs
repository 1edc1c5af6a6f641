//! Pods in the lab.

use std::net::IpAddr;
use std::sync::Arc;

use super::links::{Links, Place};
use super::server::Servers;
use super::wiring::Interfaces;
use super::{Namespace, Ports};

/// What a pod is to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodSpec {
    /// What it serves.
    pub ports: Ports,
    /// The index of its node.
    pub node: usize,
    /// Whether it uses its node's network.
    pub host_network: bool,
}

/// A pod's place in the lab.
#[derive(Debug)]
pub struct PodNet {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) spec: PodSpec,
    pub(super) number: u8,
    pub(super) interfaces: Interfaces,
    pub(super) links: Links,
    pub(super) _servers: Servers,
    pub(super) namespace: Namespace,
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
        &self.spec.ports
    }

    /// The index of the pod's node.
    #[must_use]
    pub fn node(&self) -> usize {
        self.spec.node
    }

    /// The pod's network namespace.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(super) fn place(&self) -> Place<'_> {
        Place { namespace: &self.namespace, links: &self.links }
    }

    /// The index of the pod's interface on its node.
    #[must_use]
    pub fn interface(&self) -> u32 {
        self.interfaces.host
    }
}

/// A pod of its node's network: servers in the node's namespace.
#[derive(Debug)]
pub struct HostPod {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) spec: PodSpec,
    pub(super) namespace: Arc<Namespace>,
    pub(super) _servers: Servers,
}

impl HostPod {
    /// The node's addresses that it serves at.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The index of the pod's node.
    #[must_use]
    pub fn node(&self) -> usize {
        self.spec.node
    }
}
