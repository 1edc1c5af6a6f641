//! Node, outside host and pods: their namespaces, interfaces, routes and sysctls.

use ipnet::IpNet;

use super::links::{End, Links, index_of};
use super::topology::{
    AZURE_MAC, BRIDGE_HOST, NODE_UPLINK, OUTSIDE_CLIENTS, OUTSIDE_UPLINK, Topology,
};
use super::{LabError, Namespace, ready};

const BRIDGE: &str = "cbr0";
const UPLINK: &str = "eth0";
const POD_INTERFACE: &str = "eth0";
const LOOPBACK: u32 = 1;
const NODE_INDEX: u32 = 2;
const OUTSIDE_INDEX: u32 = 3;

/// A namespace and the means to change it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub namespace: &'a Namespace,
    pub links: &'a Links,
}

/// What every namespace gets before its first interface: addresses that are usable at once, no
/// router discovery, and no rate limit on the ICMP errors that tell *refused* from *dropped*.
fn base_sysctls(forwarding: bool) -> Vec<(String, &'static str)> {
    let mut all = vec![
        ("ipv4/ping_group_range", "0 2147483647"),
        ("ipv4/icmp_ratelimit", "0"),
        ("ipv6/icmp/ratelimit", "0"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv6/conf/all/disable_ipv6", "0"),
        ("ipv6/conf/default/disable_ipv6", "0"),
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/dad_transmits", "0"),
        ("ipv6/conf/default/router_solicitations", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
    ];
    if forwarding {
        all.extend([("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")]);
    }
    all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Makes a namespace with its loopback up.
pub(crate) async fn namespace(
    name: &str,
    forwarding: bool,
) -> Result<(Namespace, Links), LabError> {
    let namespace = Namespace::new(name)?;
    namespace.sysctl(base_sysctls(forwarding)).await?;
    let links = Links::open(&namespace).await?;
    links.up(LOOPBACK).await?;
    Ok((namespace, links))
}

/// Connects the node with the outside host, and gives the node its bridge where it has one.
pub(crate) async fn node_and_outside(
    topology: Topology,
    node: Place<'_>,
    outside: Place<'_>,
) -> Result<(), LabError> {
    let here = End { name: UPLINK, mac: None, index: Some(NODE_INDEX) };
    // While both ends have one index the kernel takes its time, up to a second, to notice that
    // they are connected (it looks for devices stacked upon others by comparing indexes).
    let there = End { index: Some(OUTSIDE_INDEX), ..here };
    node.links.veth(here, there, outside.namespace).await?;
    let ends = [(NODE_INDEX, node, NODE_UPLINK), (OUTSIDE_INDEX, outside, OUTSIDE_UPLINK)];
    for (index, place, addresses) in ends {
        place.links.up(index).await?;
        for address in addresses {
            place.links.address(index, address).await?;
        }
    }
    ready::wait_for(node, NODE_INDEX).await?;
    ready::wait_for(outside, OUTSIDE_INDEX).await?;
    for (gateway, everything) in OUTSIDE_UPLINK.into_iter().zip(defaults()) {
        node.links.route(everything, Some(gateway.addr()), NODE_INDEX).await?;
    }
    outside_side(topology, outside.links).await?;
    match topology {
        Topology::Kubenet => bridge(topology, node).await,
        Topology::AzureCni => Ok(()),
    }
}

async fn outside_side(topology: Topology, links: &Links) -> Result<(), LabError> {
    for client in OUTSIDE_CLIENTS {
        links.address(LOOPBACK, IpNet::from(std::net::IpAddr::from(client.v4))).await?;
        links.address(LOOPBACK, IpNet::from(std::net::IpAddr::from(client.v6))).await?;
    }
    let pods: [IpNet; 2] = [topology.pods_v4().into(), topology.pods_v6().into()];
    for (subnet, node) in pods.into_iter().zip(NODE_UPLINK) {
        links.route(subnet, Some(node.addr()), OUTSIDE_INDEX).await?;
    }
    Ok(())
}

async fn bridge(topology: Topology, node: Place<'_>) -> Result<(), LabError> {
    node.links.bridge(BRIDGE, topology.pod_mac(BRIDGE_HOST)).await?;
    let index = index_of(node.namespace, BRIDGE).await?;
    for address in topology.host(BRIDGE_HOST) {
        node.links.address(index, address).await?;
    }
    Ok(())
}

/// The two ends of a pod's veth pair.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interfaces {
    /// Its index on the node.
    pub host: u32,
    /// Its index in the pod.
    pub inner: u32,
}

/// Waits until a node with pods, and these pods, can send and receive.
pub(crate) async fn wait_until_ready(
    topology: Topology,
    node: Place<'_>,
    pods: &[(Place<'_>, Interfaces)],
) -> Result<(), LabError> {
    for (pod, interfaces) in pods {
        ready::wait_for(*pod, interfaces.inner).await?;
        ready::wait_for(node, interfaces.host).await?;
    }
    // A bridge is connected from its first port on.
    if topology == Topology::Kubenet {
        ready::wait_for(node, index_of(node.namespace, BRIDGE).await?).await?;
    }
    Ok(())
}

/// Attaches a pod's namespace as host `number` of the subnet.
pub(crate) async fn attach(
    topology: Topology,
    node: Place<'_>,
    pod: Place<'_>,
    number: u8,
) -> Result<Interfaces, LabError> {
    let name = topology.interface(number);
    let mac = (topology == Topology::AzureCni).then_some(AZURE_MAC);
    let here = End { name: &name, mac, index: None };
    let mac = Some(topology.pod_mac(number));
    let there = End { name: POD_INTERFACE, mac, index: None };
    node.links.veth(here, there, pod.namespace).await?;
    let host = index_of(node.namespace, &name).await?;
    let inner = index_of(pod.namespace, POD_INTERFACE).await?;
    match topology {
        Topology::Kubenet => {
            node.links.enslave(host, index_of(node.namespace, BRIDGE).await?).await?;
        }
        Topology::AzureCni => {
            node.namespace.sysctl(vec![(format!("ipv4/conf/{name}/proxy_arp"), "1")]).await?;
        }
    }
    node.links.up(host).await?;
    pod.links.up(inner).await?;
    for address in topology.host(number) {
        let own = IpNet::from(address.addr());
        match topology {
            Topology::Kubenet => pod.links.address(inner, address).await?,
            Topology::AzureCni => {
                pod.links.address(inner, own).await?;
                node.links.route(own, None, host).await?;
            }
        }
    }
    for (gateway, everything) in topology.gateways().into_iter().zip(defaults()) {
        if topology == Topology::AzureCni {
            pod.links.neighbour(inner, gateway, AZURE_MAC).await?;
        }
        pod.links.route(everything, Some(gateway), inner).await?;
    }
    Ok(Interfaces { host, inner })
}

/// `0.0.0.0/0` and `::/0`.
pub(crate) fn defaults() -> [IpNet; 2] {
    [IpNet::V4(ipnet::Ipv4Net::default()), IpNet::V6(ipnet::Ipv6Net::default())]
}
