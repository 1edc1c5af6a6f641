//! The plan of one node's kube-proxy, independent of the rule language. No I/O.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use enforcer_core::model::{
    Cluster, Distribution, Pod, PodId, Protocol, Service, ServiceId, ServicePort, TargetPort,
    TrafficPolicy,
};
use ipnet::IpNet;

use crate::lab::Family;

/// A node's properties that its kube-proxy needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProxyNode {
    /// `spec.nodeName` of its pods.
    pub name: String,
    /// The addresses of its node ports.
    pub addresses: Vec<IpAddr>,
    /// The ranges of the cluster's pods (`--cluster-cidr`): packets from elsewhere to a cluster
    /// address are masqueraded.
    pub pod_ranges: Vec<IpNet>,
}

/// The Services of one address family on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The family of all addresses here.
    pub family: Family,
    /// The addresses of the node ports.
    pub node_addresses: Vec<IpAddr>,
    pub pod_range: Option<IpNet>,
    pub ports: Vec<PortPlan>,
}

/// One port of one Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortPlan {
    pub service: ServiceId,
    /// `namespace/name`, with `:port` where the port has a name: for comments.
    pub name: String,
    /// Identifies its chains.
    pub id: String,
    pub protocol: Protocol,
    /// The port at the Service's addresses.
    pub port: u16,
    /// The port at the node's addresses.
    pub node_port: Option<u16>,
    pub cluster: Vec<IpAddr>,
    /// External addresses and the load balancer's.
    pub external: Vec<IpAddr>,
    pub all: Vec<Backend>,
    /// The backends on this node.
    pub local: Vec<Backend>,
    /// Traffic policies and affinity.
    pub distribution: Distribution,
}

/// A backend of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Backend {
    pub pod: PodId,
    /// Its address and port.
    pub at: SocketAddr,
    /// Identifies its chains.
    pub id: String,
}

impl Plan {
    /// The plan of `node` for one family.
    pub(crate) fn new(cluster: &Cluster, node: &ProxyNode, family: Family) -> Self {
        let of_family = |all: &[IpAddr]| -> Vec<IpAddr> {
            all.iter().copied().filter(|it| Family::of(*it) == family).collect()
        };
        let ports = cluster.services.values().flat_map(|service| {
            service
                .ports
                .iter()
                .map(move |port| PortPlan::new(cluster, node, service, port, family))
        });
        let ranges = node.pod_ranges.iter().copied();
        Self {
            family,
            node_addresses: of_family(&node.addresses),
            pod_range: ranges.into_iter().find(|range| Family::of(range.addr()) == family),
            ports: ports.filter(PortPlan::has_frontend).collect(),
        }
    }
}

impl PortPlan {
    fn new(
        cluster: &Cluster,
        node: &ProxyNode,
        service: &Service,
        port: &ServicePort,
        family: Family,
    ) -> Self {
        let of_family = |all: &std::collections::BTreeSet<IpAddr>| -> Vec<IpAddr> {
            all.iter().copied().filter(|it| Family::of(*it) == family).collect()
        };
        let mut name = service.id.to_string();
        if !port.name.is_empty() {
            name = format!("{name}:{}", port.name);
        }
        let protocol = port.protocol;
        let id = short_id(&[&name, protocol.name(), &port.port.to_string(), &family.to_string()]);
        let cluster_addresses = of_family(&service.cluster_addresses);
        // A Service, with its node ports, has the families of its cluster addresses.
        let node_port = port.node_port.filter(|_| !cluster_addresses.is_empty());
        let pods = || backing_pods(cluster, service);
        let backends = |pods: Vec<&Pod>| -> Vec<Backend> {
            let all = pods.into_iter().filter_map(|pod| backend(pod, port, family, &id));
            // Pods in the host's network may share an address: they are one backend.
            let mut all: Vec<Backend> = all.collect();
            all.sort_by_key(|it| it.at);
            all.dedup_by_key(|it| it.at);
            all
        };
        let is_local = |pod: &&Pod| pod.node.as_deref() == Some(node.name.as_str());
        Self {
            service: service.id.clone(),
            all: backends(pods().collect()),
            local: backends(pods().filter(is_local).collect()),
            name,
            id,
            protocol,
            port: port.port,
            node_port,
            cluster: cluster_addresses,
            external: of_family(&service.external_addresses),
            distribution: service.distribution,
        }
    }

    fn has_frontend(&self) -> bool {
        !self.cluster.is_empty() || !self.external.is_empty() || self.node_port.is_some()
    }

    /// The backends of the cluster addresses.
    pub(crate) fn internal(&self) -> &[Backend] {
        self.under(self.distribution.internal)
    }

    /// The backends of external addresses and node ports, for outside clients.
    pub(crate) fn outside(&self) -> &[Backend] {
        self.under(self.distribution.external)
    }

    fn under(&self, policy: TrafficPolicy) -> &[Backend] {
        match policy {
            TrafficPolicy::Cluster => &self.all,
            TrafficPolicy::Local => &self.local,
        }
    }

    /// The verdict for packets without a backend among `backends`: `none` if the port has no
    /// backend at all, `none_here` if it has one on another node.
    pub(super) fn without_backend(
        &self,
        backends: &[Backend],
        none: &'static str,
        none_here: &'static str,
    ) -> Option<&'static str> {
        match (self.all.is_empty(), backends.is_empty()) {
            (true, _) => Some(none),
            (false, true) => Some(none_here),
            (false, false) => None,
        }
    }

    /// Whether it is reachable from outside of the cluster.
    #[must_use]
    pub(crate) fn is_external(&self) -> bool {
        !self.external.is_empty() || self.node_port.is_some()
    }
}

/// The pods behind a Service. In the lab all running pods are ready.
fn backing_pods<'a>(cluster: &'a Cluster, service: &'a Service) -> impl Iterator<Item = &'a Pod> {
    cluster.pods.values().filter(move |pod| {
        let selected = service.selector.as_ref().is_some_and(|it| it.matches(&pod.labels));
        selected && pod.id.namespace == service.id.namespace && !pod.finished
    })
}

/// The backend of a pod; `None`: it has no address of that family, or no port of that name.
fn backend(pod: &Pod, port: &ServicePort, family: Family, service: &str) -> Option<Backend> {
    let address = pod.addresses.iter().copied().find(|it| Family::of(*it) == family)?;
    let number = match &port.target {
        TargetPort::Number(number) => *number,
        TargetPort::Named(name) => {
            let named = |it: &&enforcer_core::model::ContainerPort| {
                it.name == *name && it.protocol == port.protocol
            };
            pod.ports.iter().find(named)?.port
        }
    };
    let at = SocketAddr::new(address, number);
    let id = short_id(&[service, &at.to_string()]);
    Some(Backend { pod: pod.id.clone(), at, id })
}

/// A hash of sixteen characters, the same on every node and in every run.
fn short_id(parts: &[&str]) -> String {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    format!("{:016X}", hasher.finish())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
pub(super) mod tests;
