//! Creates namespaces and attaches pods to their node: interfaces, routes and sysctls.

use ipnet::IpNet;

use super::links::{End, Links, Place, index_of};
use super::site::{AZURE_MAC, Site};
use super::topology::Topology;
use super::{LabError, Namespace, ready};

/// The name of kubenet's bridge.
pub(crate) const BRIDGE: &str = "cbr0";
const POD_INTERFACE: &str = "eth0";
/// The index of every namespace's loopback.
pub(crate) const LOOPBACK: u32 = 1;

/// The sysctls of every namespace, set before its first interface: addresses that are usable at
/// once, no router discovery, and no rate limit on the ICMP errors that distinguish *refused* from
/// *dropped*.
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

/// Creates a namespace with its loopback up.
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

/// The two ends of a pod's veth pair.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interfaces {
    /// Its index on the node.
    pub host: u32,
    /// Its index in the pod.
    pub inner: u32,
}

/// Waits until a node and its pods can send and receive.
pub(crate) async fn wait_until_ready(
    topology: Topology,
    node: Place<'_>,
    pods: &[(Place<'_>, Interfaces)],
) -> Result<(), LabError> {
    for (pod, interfaces) in pods {
        ready::wait_for(*pod, interfaces.inner).await?;
        ready::wait_for(node, interfaces.host).await?;
    }
    // A bridge has a carrier once it has a port.
    if topology == Topology::Kubenet {
        ready::wait_for(node, index_of(node.namespace, BRIDGE).await?).await?;
    }
    Ok(())
}

/// Attaches a pod's namespace as host `number` of the subnet.
pub(crate) async fn attach(
    site: Site,
    node: Place<'_>,
    pod: Place<'_>,
    number: u8,
) -> Result<Interfaces, LabError> {
    let topology = site.topology();
    let name = site.interface(number);
    let mac = (topology == Topology::AzureCni).then_some(AZURE_MAC);
    let here = End { name: &name, mac, index: None };
    let mac = Some(site.pod_mac(number));
    let there = End { name: POD_INTERFACE, mac, index: None };
    node.links.veth(here, there, pod.namespace).await?;
    let host = index_of(node.namespace, &name).await?;
    let inner = index_of(pod.namespace, POD_INTERFACE).await?;
    match topology {
        Topology::Kubenet => {
            let bridge = index_of(node.namespace, BRIDGE).await?;
            node.links.enslave(host, bridge, true).await?;
        }
        Topology::AzureCni => {
            node.namespace.sysctl(vec![(format!("ipv4/conf/{name}/proxy_arp"), "1")]).await?;
        }
    }
    node.links.up(host).await?;
    pod.links.up(inner).await?;
    for address in site.host(number) {
        let own = IpNet::from(address.addr());
        match topology {
            Topology::Kubenet => pod.links.address(inner, address).await?,
            Topology::AzureCni => {
                pod.links.address(inner, own).await?;
                node.links.route(own, None, host).await?;
            }
        }
    }
    for (gateway, everything) in site.gateways().into_iter().zip(defaults()) {
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
