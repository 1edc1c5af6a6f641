//! Addresses and ports to test with: at, just before and just after every boundary.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_core::model::{Cluster, Peer, PortRule, PortSpec, Protocol, Rule, Traffic};
use ipnet::IpNet;

/// Addresses that no generated cluster contains.
const STRANGERS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// Ports of each protocol that are always tested.
const COMMON_PORTS: [u16; 3] = [0, 80, 65_535];

fn rules(cluster: &Cluster) -> impl Iterator<Item = &Rule> {
    let policies = cluster.policies.values();
    policies.flat_map(|policy| policy.ingress.iter().chain(&policy.egress)).flatten()
}

/// The addresses to test, without duplicates: those of pods and the node, the first and last of
/// every block and exception with their neighbours, and unknown ones.
pub fn addresses(cluster: &Cluster) -> Vec<IpAddr> {
    let pods = cluster.pods.values().flat_map(|pod| pod.addresses.iter().copied());
    let blocks = rules(cluster).flat_map(|rule| &rule.peers).filter_map(|peer| match peer {
        Peer::Block(block) => Some(block),
        Peer::Pods { .. } => None,
    });
    let prefixes = blocks.flat_map(|block| std::iter::once(&block.cidr).chain(&block.except));
    let all: BTreeSet<IpAddr> = pods
        .chain(cluster.node_addresses.iter().copied())
        .chain(prefixes.flat_map(edges))
        .chain(STRANGERS)
        .collect();
    all.into_iter().collect()
}

/// The first and the last address of a prefix, and their neighbours outside, if any.
fn edges(prefix: &IpNet) -> impl Iterator<Item = IpAddr> + use<> {
    let (first, last) = (prefix.network(), prefix.broadcast());
    [before(first), Some(first), Some(last), after(last)].into_iter().flatten()
}

fn before(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(it) => IpAddr::V4(it.to_bits().checked_sub(1)?.into()),
        IpAddr::V6(it) => IpAddr::V6(it.to_bits().checked_sub(1)?.into()),
    })
}

fn after(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(it) => IpAddr::V4(it.to_bits().checked_add(1)?.into()),
        IpAddr::V6(it) => IpAddr::V6(it.to_bits().checked_add(1)?.into()),
    })
}

/// The traffic to test, without duplicates: protocols without ports, the first and last port of
/// every range with their neighbours, the numbers of named ports, and a few ports of each protocol.
pub fn traffic(cluster: &Cluster) -> Vec<Traffic> {
    let ranges = rules(cluster).flat_map(|rule| &rule.ports).flat_map(range_edges);
    let named = cluster
        .pods
        .values()
        .flat_map(|pod| &pod.ports)
        .map(|port| Traffic::Port(port.protocol, port.port));
    let common =
        Protocol::ALL.into_iter().flat_map(|it| COMMON_PORTS.map(|port| Traffic::Port(it, port)));
    let all: BTreeSet<Traffic> =
        ranges.chain(named).chain(common).chain([Traffic::Portless]).collect();
    all.into_iter().collect()
}

fn range_edges(rule: &PortRule) -> impl Iterator<Item = Traffic> + use<> {
    let ports = match rule.port {
        PortSpec::Range(range) => [
            range.first.checked_sub(1),
            Some(range.first),
            Some(range.last),
            range.last.checked_add(1),
        ],
        PortSpec::All | PortSpec::Named(_) => [None; 4],
    };
    let protocol = rule.protocol;
    ports.into_iter().flatten().map(move |port| Traffic::Port(protocol, port))
}
