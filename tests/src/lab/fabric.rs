//! The network between the nodes and the outside host.
//!
//! A single node and the outside host are the two ends of a veth pair. Several nodes are connected
//! to a switch (a namespace with a bridge) and reach each other's pods by routes or through
//! tunnels.

use ipnet::IpNet;

use super::links::{End, Place, index_of};
use super::site::{BRIDGE_HOST, OUTSIDE_UPLINK, Site};
use super::topology::{Fabric, OUTSIDE_CLIENTS, Topology};
use super::wiring::{BRIDGE, LOOPBACK, defaults};
use super::{LabError, ready};

const UPLINK: &str = "eth0";
const SWITCH: &str = "br0";
const TUNNEL: &str = "vxlan0";
/// The index of each node's uplink.
const NODE_INDEX: u32 = 2;
/// The index of the outside host's uplink. If both ends of a pair have the same index, the kernel
/// takes up to a second to notice that they are connected (it compares indexes to find stacked
/// devices).
pub(crate) const OUTSIDE_INDEX: u32 = 3;
/// The index of the switch's first port.
const FIRST_PORT: u32 = 10;

/// A node's names and addresses, and its namespace.
pub(crate) type NodeAt<'a> = (Site, Place<'a>);

/// Connects the nodes and the outside host; several nodes need the `switch`.
pub(crate) async fn connect(
    fabric: Fabric,
    nodes: &[NodeAt<'_>],
    outside: Place<'_>,
    switch: Option<Place<'_>>,
) -> Result<(), LabError> {
    let mut ends = vec![(OUTSIDE_INDEX, outside, OUTSIDE_UPLINK)];
    ends.extend(nodes.iter().map(|(site, place)| (NODE_INDEX, *place, site.uplink())));
    match (nodes, switch) {
        ([(_, node)], None) => {
            let here = End { name: UPLINK, mac: None, index: Some(NODE_INDEX) };
            let there = End { index: Some(OUTSIDE_INDEX), ..here };
            node.links.veth(here, there, outside.namespace).await?;
        }
        (_, Some(switch)) => plug_in(&ends, switch).await?,
        (_, None) => return Err(LabError::Agent("several nodes need a switch".to_owned())),
    }
    for (index, place, addresses) in &ends {
        place.links.up(*index).await?;
        for address in addresses {
            place.links.address(*index, *address).await?;
        }
    }
    for (index, place, _) in &ends {
        ready::wait_for(*place, *index).await?;
    }
    outside_side(nodes, outside).await?;
    for (site, node) in nodes {
        node_side(*site, *node).await?;
    }
    match fabric {
        Fabric::Routed => routes(nodes).await,
        Fabric::Vxlan => tunnels(nodes).await,
    }
}

/// Gives each end a port of the switch.
async fn plug_in(ends: &[(u32, Place<'_>, [IpNet; 2])], switch: Place<'_>) -> Result<(), LabError> {
    // Plain switching: no netfilter.
    let quiet = ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"];
    switch.namespace.sysctl(quiet.map(|key| (key.to_owned(), "0")).to_vec()).await?;
    switch.links.bridge(SWITCH, [0x0a, 0x58, 10, 240, 0, 0]).await?;
    let bridge = index_of(switch.namespace, SWITCH).await?;
    for (port, (index, place, _)) in (FIRST_PORT..).zip(ends) {
        let here = End { name: UPLINK, mac: None, index: Some(*index) };
        let name = format!("port{port}");
        let there = End { name: &name, mac: None, index: Some(port) };
        place.links.veth(here, there, switch.namespace).await?;
        switch.links.enslave(port, bridge, false).await?;
        switch.links.up(port).await?;
    }
    Ok(())
}

async fn outside_side(nodes: &[NodeAt<'_>], outside: Place<'_>) -> Result<(), LabError> {
    for client in OUTSIDE_CLIENTS {
        for address in client.addresses() {
            outside.links.address(LOOPBACK, IpNet::from(address)).await?;
        }
    }
    for (site, _) in nodes {
        for (subnet, node) in site.pods().into_iter().zip(site.uplink()) {
            outside.links.route(subnet, Some(node.addr()), OUTSIDE_INDEX).await?;
        }
    }
    Ok(())
}

/// A node's default routes, and kubenet's bridge.
async fn node_side(site: Site, node: Place<'_>) -> Result<(), LabError> {
    for (gateway, everything) in OUTSIDE_UPLINK.into_iter().zip(defaults()) {
        node.links.route(everything, Some(gateway.addr()), NODE_INDEX).await?;
    }
    if site.topology() == Topology::AzureCni {
        return Ok(());
    }
    node.links.bridge(BRIDGE, site.pod_mac(BRIDGE_HOST)).await?;
    let index = index_of(node.namespace, BRIDGE).await?;
    for address in site.host(BRIDGE_HOST) {
        node.links.address(index, address).await?;
    }
    Ok(())
}

/// All ordered pairs of different nodes.
fn pairs<'a, 'n>(
    nodes: &'a [NodeAt<'n>],
) -> impl Iterator<Item = (&'a NodeAt<'n>, &'a NodeAt<'n>)> {
    let others = move |one: &'a NodeAt<'n>| {
        nodes.iter().filter(move |other| other.0 != one.0).map(move |other| (one, other))
    };
    nodes.iter().flat_map(others)
}

/// Routes to the other nodes' pods, like those of a cloud's route table.
async fn routes(nodes: &[NodeAt<'_>]) -> Result<(), LabError> {
    for ((_, node), (other, _)) in pairs(nodes) {
        for (subnet, gateway) in other.pods().into_iter().zip(other.uplink()) {
            node.links.route(subnet, Some(gateway.addr()), NODE_INDEX).await?;
        }
    }
    Ok(())
}

/// The same through VXLAN. Nothing is flooded: the other ends' hardware addresses and their nodes
/// are static entries.
async fn tunnels(nodes: &[NodeAt<'_>]) -> Result<(), LabError> {
    for (site, node) in nodes {
        let [underlay, _] = site.uplink();
        node.links.vxlan(TUNNEL, site.tunnel_mac(), NODE_INDEX, underlay.addr()).await?;
        let index = index_of(node.namespace, TUNNEL).await?;
        node.links.up(index).await?;
        for address in site.tunnel() {
            node.links.address(index, address).await?;
        }
        ready::wait_for_addresses(*node, index).await?;
    }
    for ((_, node), (other, _)) in pairs(nodes) {
        let index = index_of(node.namespace, TUNNEL).await?;
        let [underlay, _] = other.uplink();
        node.links.forward(index, other.tunnel_mac(), underlay.addr()).await?;
        for (subnet, gateway) in other.pods().into_iter().zip(other.tunnel()) {
            node.links.neighbour(index, gateway.addr(), other.tunnel_mac()).await?;
            node.links.route(subnet, Some(gateway.addr()), index).await?;
        }
    }
    Ok(())
}
