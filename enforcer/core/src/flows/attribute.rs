//! The ends of flows by name.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::OnceLock;

use enforcer_ebpf::contract::verdict::Direction;

use super::record::FlowEnd;
use super::sighting::Sighting;
use crate::explain::{Backend, Workload, backends, in_audit};
use crate::model::{Cluster, Pod, Protocol, Service, ServicePort, Traffic};

/// The cluster, as far as flows are named by it.
pub struct View<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The pods of an address, see [`crate::explain::owners`].
    pub owners: &'a dyn Fn(IpAddr) -> Vec<&'a Pod>,
    services: OnceLock<HashMap<IpAddr, Vec<&'a Service>>>,
}

/// A flow whose ends are named.
#[derive(Debug, Clone)]
pub(super) struct Attributed<'a> {
    pub(super) from: FlowEnd,
    pub(super) to: FlowEnd,
    pub(super) port: Option<u16>,
    pub(super) service: Option<String>,
    pub(super) traffic: Traffic,
    /// The ends of one pair, for the explanation; `None`: the receiver is not known.
    pub(super) pair: Option<[(IpAddr, Option<&'a Pod>); 2]>,
}

impl<'a> View<'a> {
    /// A view of the cluster.
    #[must_use]
    pub fn new(cluster: &'a Cluster, owners: &'a dyn Fn(IpAddr) -> Vec<&'a Pod>) -> Self {
        Self { cluster, owners, services: OnceLock::new() }
    }

    /// The end with this address.
    #[must_use]
    pub fn end(&self, address: IpAddr) -> FlowEnd {
        self.end_and_pod(address).0
    }

    /// Whether policies in audit select the pod.
    pub(super) fn has_audit(&self, pod: &Pod) -> bool {
        let all = Direction::ALL.into_iter();
        all.flat_map(|it| in_audit(self.cluster, &pod.id, it)).next().is_some()
    }

    fn end_and_pod(&self, address: IpAddr) -> (FlowEnd, Option<&'a Pod>) {
        if self.cluster.node_addresses.contains(&address) {
            return (FlowEnd::Node, None);
        }
        match (self.owners)(address).first().copied() {
            Some(pod) => (FlowEnd::Workload(Workload::of(pod).to_string()), Some(pod)),
            None => (FlowEnd::Address(address), None),
        }
    }

    /// Names the ends of a pod's flows. `None`: they go to a group or a neighbour, which is no
    /// connection between workloads.
    pub(super) fn attribute(&self, pod: &'a Pod, seen: &Sighting) -> Option<Attributed<'a>> {
        if is_of_the_link(seen.remote) {
            return None;
        }
        let own = (FlowEnd::Workload(Workload::of(pod).to_string()), (seen.local, Some(pod)));
        let protocol = Protocol::ALL.into_iter().find(|it| it.number() == seen.protocol);
        let traffic = protocol.map_or(Traffic::Portless, |it| Traffic::Port(it, seen.port));
        let port = protocol.map(|_| seen.port);
        let (end, other) = self.end_and_pod(seen.remote);
        if seen.initiator == Direction::Ingress {
            let pair = Some([(seen.remote, other), own.1]);
            return Some(Attributed { from: end, to: own.0, port, service: None, traffic, pair });
        }
        if let (Some(protocol), None) = (protocol, other)
            && let Some((service, port)) = self.service(seen.remote, protocol, seen.port)
        {
            return Some(self.through(own, service, port));
        }
        let pair = Some([own.1, (seen.remote, other)]);
        Some(Attributed { from: own.0, to: end, port, service: None, traffic, pair })
    }

    /// The Service that has this address and port; node ports count at the node's addresses.
    fn service(
        &self,
        address: IpAddr,
        protocol: Protocol,
        port: u16,
    ) -> Option<(&'a Service, &'a ServicePort)> {
        let cluster = self.cluster;
        let by_address = self.services.get_or_init(|| {
            let mut all: HashMap<IpAddr, Vec<&Service>> = HashMap::new();
            for service in cluster.services.values() {
                service.addresses().for_each(|it| all.entry(it).or_default().push(service));
            }
            all
        });
        let find = |service: &&'a Service, wanted: &dyn Fn(&ServicePort) -> bool| {
            let mut ports = service.ports.iter();
            ports.find(|it| it.protocol == protocol && wanted(it)).map(|it| (*service, it))
        };
        if cluster.node_addresses.contains(&address) {
            let mut services = cluster.services.values();
            return services.find_map(|it| find(&it, &|it| it.node_port == Some(port)));
        }
        by_address.get(&address)?.iter().find_map(|it| find(it, &|it| it.port == port))
    }

    /// A flow to a Service. Its receiver is known if all backends are of one workload with one port.
    fn through(
        &self,
        (from, own): (FlowEnd, (IpAddr, Option<&'a Pod>)),
        service: &Service,
        port: &ServicePort,
    ) -> Attributed<'a> {
        let (id, number) = (service.id.to_string(), port.port);
        let name = Some(format!("{id}:{number}"));
        let mut found = backends(self.cluster, service, port);
        found.retain(|it| it.address.is_ipv4() == own.0.is_ipv4());
        let Some((to, backend, pod)) = self.only(&found) else {
            let (to, port, traffic) =
                (FlowEnd::Service(id), Some(number), Traffic::Port(port.protocol, number));
            return Attributed { from, to, port, service: name, traffic, pair: None };
        };
        Attributed {
            from,
            to,
            port: Some(backend.port),
            service: name,
            traffic: Traffic::Port(port.protocol, backend.port),
            pair: Some([own, (backend.address, Some(pod))]),
        }
    }

    /// The workload of all backends and one of these, if there is only one workload and port.
    fn only<'b>(&self, backends: &'b [Backend]) -> Option<(FlowEnd, &'b Backend, &'a Pod)> {
        let workload = |it: &Backend| {
            let pod = self.cluster.pods.get(&it.pod)?;
            Some((Workload::of(pod), pod))
        };
        let first = backends.first()?;
        let (name, pod) = workload(first)?;
        let is_alike = |it: &Backend| {
            it.port == first.port && workload(it).is_some_and(|(other, _)| other == name)
        };
        let all_alike = backends.iter().all(is_alike);
        all_alike.then(|| (FlowEnd::Workload(name.to_string()), first, pod))
    }
}

/// Whether the address is a group's or a neighbour's.
fn is_of_the_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => it.is_multicast() || it.is_broadcast() || it.is_unspecified(),
        IpAddr::V6(it) => it.is_multicast() || it.is_unicast_link_local() || it.is_unspecified(),
    }
}
