//! Pods in the lab.

use std::net::IpAddr;
use std::sync::Arc;

use super::links::{Links, Place};
use super::server::Servers;
use super::wiring::Interfaces;
use super::{Namespace, Ports};

/// The wanted state of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodSpec {
    /// The ports that it serves.
    pub ports: Ports,
    /// The index of its node.
    pub node: usize,
    /// Whether it uses its node's network.
    pub host_network: bool,
    /// Its `metadata.uid`; empty if the source has none.
    pub uid: String,
}

/// A running pod with a network of its own.
#[derive(Debug)]
pub struct PodNet {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) spec: PodSpec,
    pub(super) number: u8,
    pub(super) uid: String,
    pub(super) sandbox: String,
    pub(super) interfaces: Interfaces,
    pub(super) links: Links,
    pub(super) _servers: Servers,
    pub(super) namespace: Namespace,
}

impl PodNet {
    /// The pod's addresses, IPv4 first.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The ports that the pod serves.
    pub fn ports(&self) -> &Ports {
        &self.spec.ports
    }

    /// The index of the pod's node.
    pub fn node(&self) -> usize {
        self.spec.node
    }

    /// The id of the pod's sandbox in the container runtime.
    pub fn sandbox_id(&self) -> &str {
        &self.sandbox
    }

    /// The pod's UID, as the kubelet gives it to the container runtime.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The pod's network namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(super) fn place(&self) -> Place<'_> {
        Place { namespace: &self.namespace, links: &self.links }
    }

    /// The index of the pod's interface on its node.
    pub fn interface(&self) -> u32 {
        self.interfaces.host
    }
}

/// A running pod in its node's network: servers in the node's namespace.
#[derive(Debug)]
pub struct HostPod {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) spec: PodSpec,
    pub(super) namespace: Arc<Namespace>,
    pub(super) _servers: Servers,
}

impl HostPod {
    /// The pod's addresses, which are its node's.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The index of the pod's node.
    pub fn node(&self) -> usize {
        self.spec.node
    }
}
