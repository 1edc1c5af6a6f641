//! Services, as far as the datapath and the tests' lab need them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::id::ServiceId;
use super::policy::Protocol;
use super::selector::Selector;

/// `targetPort`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetPort {
    /// By number.
    Number(u16),
    /// By the name of a container port.
    Named(String),
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// `name`; empty if unnamed.
    pub name: String,
    /// `protocol`
    pub protocol: Protocol,
    /// `port`
    pub port: u16,
    /// `targetPort`; the port itself if absent.
    pub target: TargetPort,
    /// `nodePort`, where there is one.
    pub node_port: Option<u16>,
}

/// Which backends may receive a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrafficPolicy {
    /// All.
    #[default]
    Cluster,
    /// Only those on the node that the packet entered.
    Local,
}

/// The distribution of connections over backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Distribution {
    /// `spec.externalTrafficPolicy`
    pub external: TrafficPolicy,
    /// `spec.internalTrafficPolicy`
    pub internal: TrafficPolicy,
    /// With `spec.sessionAffinity: ClientIP`, the seconds for which a client keeps its backend.
    pub affinity: Option<u32>,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// Namespace and name.
    pub id: ServiceId,
    /// `spec.selector`; `None`: endpoints are managed by hand.
    pub selector: Option<Selector>,
    /// `spec.clusterIPs` that are addresses.
    pub cluster_addresses: BTreeSet<IpAddr>,
    /// `spec.externalIPs` and the load balancer's addresses.
    pub external_addresses: BTreeSet<IpAddr>,
    /// `spec.ports`
    pub ports: Vec<ServicePort>,
    /// The distribution of connections over backends.
    pub distribution: Distribution,
}

impl Service {
    /// The addresses that kube-proxy translates on every node, except for the nodes' own addresses,
    /// which it translates for node ports.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.cluster_addresses.iter().chain(&self.external_addresses).copied()
    }
}
