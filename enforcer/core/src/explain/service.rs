//! Services: the backends that kube-proxy translates a Service's address to (semantics N1, N2).

use std::net::IpAddr;

use crate::model::{Cluster, Pod, PodId, Protocol, Service, ServiceId, ServicePort, TargetPort};

/// A backend of a Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// The pod.
    pub pod: PodId,
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
}

/// A port of a Service, and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    /// The Service.
    pub service: ServiceId,
    /// The protocol.
    pub protocol: Protocol,
    /// The Service's port.
    pub port: u16,
    /// Its backends; empty: nothing answers.
    pub backends: Vec<Backend>,
}

/// The backends of a Service's port. Readiness is unknown: every pod that the selector matches
/// counts, unless it is finished or being deleted. A pod without the named target port is none.
#[must_use]
pub fn backends(cluster: &Cluster, service: &Service, port: &ServicePort) -> Vec<Backend> {
    let Some(selector) = &service.selector else { return Vec::new() };
    let pods = cluster.pods.values().filter(|pod| {
        pod.id.namespace == service.id.namespace
            && !pod.finished
            && !pod.terminating
            && selector.matches(&pod.labels)
    });
    let mut found: Vec<Backend> = pods.flat_map(|pod| of_pod(service, port, pod)).collect();
    found.sort_unstable();
    found
}

fn of_pod(service: &Service, port: &ServicePort, pod: &Pod) -> Vec<Backend> {
    let target = match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Named(name) => {
            let named =
                pod.ports.iter().find(|it| it.name == *name && it.protocol == port.protocol);
            named.map(|it| it.port)
        }
    };
    let Some(target) = target else { return Vec::new() };
    let families = &service.cluster_addresses;
    let serves = |it: &&IpAddr| {
        families.is_empty() || families.iter().any(|own| own.is_ipv4() == it.is_ipv4())
    };
    let addresses = pod.addresses.iter().filter(serves);
    addresses.map(|it| Backend { pod: pod.id.clone(), address: *it, port: target }).collect()
}

/// The translations of a Service's ports: of all, or of those with this number or name.
#[must_use]
pub fn translations(
    cluster: &Cluster,
    service: &Service,
    wanted: impl Fn(&ServicePort) -> bool,
) -> Vec<Translation> {
    let ports = service.ports.iter().filter(|it| wanted(it));
    let translation = |port: &ServicePort| Translation {
        service: service.id.clone(),
        protocol: port.protocol,
        port: port.port,
        backends: backends(cluster, service, port),
    };
    ports.map(translation).collect()
}

/// The Service that has this address and port, with its backends of the address's family. Node
/// ports count at the cluster's `node_addresses`. `None`: no Service translates it.
#[must_use]
pub fn translate(
    cluster: &Cluster,
    address: IpAddr,
    protocol: Protocol,
    port: u16,
) -> Option<Translation> {
    let at_node = cluster.node_addresses.contains(&address);
    let found = cluster.services.values().find_map(|service| {
        let own = service.addresses().any(|it| it == address);
        let matches = |it: &&ServicePort| {
            it.protocol == protocol
                && ((own && it.port == port) || (at_node && it.node_port == Some(port)))
        };
        service.ports.iter().find(matches).map(|port| (service, port))
    });
    let (service, port) = found?;
    let mut backends = backends(cluster, service, port);
    backends.retain(|it| it.address.is_ipv4() == address.is_ipv4());
    let (service, protocol, port) = (service.id.clone(), port.protocol, port.port);
    Some(Translation { service, protocol, port, backends })
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::model::{ContainerPort, Requirement, Selector};

    fn pod(name: &str, http: Option<u16>, addresses: &[&str]) -> Pod {
        let port = |port| ContainerPort { name: "http".to_owned(), protocol: Protocol::Tcp, port };
        Pod {
            labels: [("app".to_owned(), "web".to_owned())].into(),
            addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
            ports: http.map(port).into_iter().collect(),
            ..Pod::new(PodId::new("shop", name))
        }
    }

    fn cluster() -> Cluster {
        let port = |port, target, node_port| ServicePort {
            name: String::new(),
            protocol: Protocol::Tcp,
            port,
            target,
            node_port,
        };
        let app = Requirement::In("app".to_owned(), ["web".to_owned()].into());
        let service = Service {
            id: ServiceId::new("shop", "web"),
            selector: Some(Selector { requirements: [app].into() }),
            cluster_addresses: ["10.0.0.10".parse().unwrap()].into(),
            external_addresses: ["192.0.2.10".parse().unwrap()].into(),
            ports: vec![
                port(80, TargetPort::Named("http".to_owned()), Some(30_080)),
                port(81, TargetPort::Number(8_081), None),
            ],
            ..Service::default()
        };
        let ending = Pod { terminating: true, ..pod("ending", Some(8_080), &["10.1.0.9"]) };
        let pods = [
            pod("one", Some(8_080), &["10.1.0.1", "fd00::1"]),
            pod("other", Some(9_090), &["10.1.0.2"]),
            pod("nameless", None, &["10.1.0.3"]),
            ending,
        ];
        Cluster {
            pods: pods.map(|it| (it.id.clone(), it)).into(),
            services: [(service.id.clone(), service)].into(),
            node_addresses: ["10.224.0.4".parse().unwrap()].into(),
            ..Cluster::default()
        }
    }

    fn through(address: &str, port: u16) -> Option<Vec<(String, u16)>> {
        let found = translate(&cluster(), address.parse().unwrap(), Protocol::Tcp, port)?;
        let backends = found.backends.into_iter();
        Some(backends.map(|it| (format!("{} {}", it.pod.name, it.address), it.port)).collect())
    }

    #[test]
    fn n1_every_address_of_a_service_leads_to_its_backends() {
        let named = vec![("one 10.1.0.1".to_owned(), 8_080), ("other 10.1.0.2".to_owned(), 9_090)];
        assert_eq!(through("10.0.0.10", 80), Some(named.clone()));
        assert_eq!(through("192.0.2.10", 80), Some(named.clone()));
        assert_eq!(through("10.224.0.4", 30_080), Some(named), "a node port");
        let numbered = through("10.0.0.10", 81).unwrap();
        assert_eq!(numbered.len(), 3, "a number needs no name: {numbered:?}");
        assert_eq!(through("10.0.0.10", 82), None);
        assert_eq!(through("10.0.0.10", 30_080), None);
        assert_eq!(through("10.1.0.1", 80), None);
    }

    #[test]
    fn a_service_without_a_selector_has_no_known_backends() {
        let mut cluster = cluster();
        for service in cluster.services.values_mut() {
            service.selector = None;
        }
        let found = translate(&cluster, [10, 0, 0, 10].into(), Protocol::Tcp, 80).unwrap();
        assert_eq!(found.backends, []);
    }
}
