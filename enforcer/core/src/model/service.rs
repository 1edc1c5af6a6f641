//! Services, as far as the datapath and the lab need them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use super::{Protocol, Selector};

/// A service's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ServiceId {
    /// `metadata.namespace`
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// `targetPort`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetPort {
    /// By number.
    Number(u16),
    /// By the name of a container port.
    Named(String),
}

/// One of a service's ports.
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

/// Which backends a packet may be given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrafficPolicy {
    /// All.
    #[default]
    Cluster,
    /// Only those of the node that it entered.
    Local,
}

/// How connections are spread over the backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Distribution {
    /// `spec.externalTrafficPolicy`
    pub external: TrafficPolicy,
    /// `spec.internalTrafficPolicy`
    pub internal: TrafficPolicy,
    /// With `spec.sessionAffinity: ClientIP`, for how many seconds a client keeps its backend.
    pub affinity: Option<u32>,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// Namespace and name.
    pub id: ServiceId,
    /// `spec.selector`; `None`: endpoints are made by hand.
    pub selector: Option<Selector>,
    /// `spec.clusterIPs` that are addresses.
    pub cluster_addresses: BTreeSet<IpAddr>,
    /// `spec.externalIPs` and the load balancer's addresses.
    pub external_addresses: BTreeSet<IpAddr>,
    /// `spec.ports`
    pub ports: Vec<ServicePort>,
    /// How connections are spread over the backends.
    pub distribution: Distribution,
}

impl Service {
    /// The addresses that kube-proxy translates on every node; those of nodes, by which node ports
    /// are reached, aside.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.cluster_addresses.iter().chain(&self.external_addresses).copied()
    }
}
