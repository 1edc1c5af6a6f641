//! The addresses and names of one node. Nothing here does I/O.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::topology::{Fabric, Topology, net4, net6};

pub(crate) type Mac = [u8; 6];

/// The first node's name, in `spec.nodeName` and for its agent.
pub const NODE_NAME: &str = "lab-node";

/// The first node's namespace, as `ip netns` sees it.
pub const NODE_NAMESPACE: &str = "node";

/// The nodes' default gateway, the outside host.
pub(crate) const OUTSIDE_UPLINK: [IpNet; 2] = [
    IpNet::V4(net4(Ipv4Addr::new(10, 240, 0, 1), 24)),
    IpNet::V6(net6(Ipv6Addr::new(0xfd00, 0x10, 0x240, 0, 0, 0, 0, 1), 64)),
];

/// The host number of `cbr0` in the pods' subnet.
pub(crate) const BRIDGE_HOST: u8 = 1;
/// The hardware address of every `azv…` interface.
pub(crate) const AZURE_MAC: Mac = [0xaa; 6];

/// Addresses and names of the node with this index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    topology: Topology,
    index: u8,
}

impl Site {
    /// The site of node `index`, counted from 0 and below [`MAX_NODES`].
    pub const fn new(topology: Topology, index: u8) -> Self {
        Self { topology, index }
    }

    /// How the node's pods are attached.
    pub const fn topology(self) -> Topology {
        self.topology
    }

    /// The node's name, in `spec.nodeName` and for its agent.
    pub fn name(self) -> String {
        match self.index {
            0 => NODE_NAME.to_owned(),
            index => format!("{NODE_NAME}-{}", index + 1),
        }
    }

    /// The name of the node's namespace.
    pub fn namespace(self) -> String {
        match self.index {
            0 => NODE_NAMESPACE.to_owned(),
            index => format!("{NODE_NAMESPACE}{}", index + 1),
        }
    }

    /// The pods' IPv4 subnet.
    pub const fn pods_v4(self) -> Ipv4Net {
        match self.topology {
            Topology::Kubenet => net4(Ipv4Addr::new(10, 244, 1 + self.index, 0), 24),
            Topology::AzureCni => net4(Ipv4Addr::new(10, 241, self.index, 0), 24),
        }
    }

    /// The pods' IPv6 subnet.
    pub const fn pods_v6(self) -> Ipv6Net {
        let index = self.index as u16;
        let (range, subnet) = match self.topology {
            Topology::Kubenet => (0x244, 1 + index),
            Topology::AzureCni => (0x241, index),
        };
        net6(Ipv6Addr::new(0xfd00, 0x10, range, subnet, 0, 0, 0, 0), 64)
    }

    /// Both subnets.
    pub fn pods(self) -> [IpNet; 2] {
        [self.pods_v4().into(), self.pods_v6().into()]
    }

    /// Both addresses of the subnet's host `number`, with the subnet's prefix lengths.
    pub fn host(self, number: u8) -> [IpNet; 2] {
        let v4 = u32::from(self.pods_v4().network()) + u32::from(number);
        let v6 = u128::from(self.pods_v6().network()) + u128::from(number);
        [
            net4(v4.into(), self.pods_v4().prefix_len()).into(),
            net6(v6.into(), self.pods_v6().prefix_len()).into(),
        ]
    }

    /// The node's uplink.
    pub fn uplink(self) -> [IpNet; 2] {
        let host = 4 + self.index;
        [
            net4(Ipv4Addr::new(10, 240, 0, host), 24).into(),
            net6(Ipv6Addr::new(0xfd00, 0x10, 0x240, 0, 0, 0, 0, host.into()), 64).into(),
        ]
    }

    /// The node's end of the tunnels.
    pub(crate) fn tunnel(self) -> [IpNet; 2] {
        let host = 1 + self.index;
        [
            net4(Ipv4Addr::new(10, 239, 0, host), 24).into(),
            net6(Ipv6Addr::new(0xfd00, 0x10, 0x239, 0, 0, 0, 0, host.into()), 64).into(),
        ]
    }

    /// The hardware address of that end.
    pub(crate) const fn tunnel_mac(self) -> Mac {
        [0x0a, 0x58, 10, 239, 0, 1 + self.index]
    }

    /// All addresses of the node (semantics A2) except link-local ones.
    pub fn addresses(self, fabric: Fabric) -> Vec<IpAddr> {
        let bridge = self.host(BRIDGE_HOST);
        let bridge = bridge.into_iter().filter(|_| self.topology == Topology::Kubenet);
        let tunnel = self.tunnel().into_iter().filter(|_| fabric == Fabric::Vxlan);
        self.uplink().into_iter().chain(bridge).chain(tunnel).map(|net| net.addr()).collect()
    }

    /// The gateways of a pod's default routes: the bridge, or Azure CNI's addresses.
    pub fn gateways(self) -> [IpAddr; 2] {
        match self.topology {
            Topology::Kubenet => self.host(BRIDGE_HOST).map(|net| net.addr()),
            Topology::AzureCni => [
                Ipv4Addr::new(169, 254, 1, 1).into(),
                Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x1234, 0x5678, 0x9abc).into(),
            ],
        }
    }

    /// The hardware address for a host's IPv4 address, as the bridge plugin derives it: neighbour
    /// entries stay valid when the address moves to another pod.
    pub(crate) fn pod_mac(self, number: u8) -> Mac {
        let [a, b, c, _] = self.pods_v4().network().octets();
        [0x0a, 0x58, a, b, c, number]
    }

    /// The name of a pod's interface on the node. As on a real node, it is unrelated to the pod,
    /// and may be the same on another node.
    pub fn interface(self, number: u8) -> String {
        let mut hasher = DefaultHasher::new();
        (self.topology, number).hash(&mut hasher);
        let hash = hasher.finish();
        match self.topology {
            Topology::Kubenet => format!("veth{:08x}", hash & 0xffff_ffff),
            Topology::AzureCni => format!("azv{:011x}", hash & 0xfff_ffff_ffff),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::topology::MAX_NODES;
    use super::*;

    #[test]
    fn interface_names_fit_the_kernel_and_differ() {
        for topology in Topology::ALL {
            let site = Site::new(topology, 0);
            let names: BTreeSet<String> = (0..=255).map(|n| site.interface(n)).collect();
            assert_eq!(names.len(), 256);
            assert!(names.iter().all(|name| name.len() <= 15));
        }
    }

    #[test]
    fn hosts_are_in_the_pods_subnet() {
        let [v4, v6] = Site::new(Topology::Kubenet, 0).host(1);
        assert_eq!(
            (v4.to_string(), v6.to_string()),
            ("10.244.1.1/24".to_owned(), "fd00:10:244:1::1/64".to_owned())
        );
    }

    #[test]
    fn nodes_share_no_name_or_address_and_pods_are_in_the_clusters_range() {
        for topology in Topology::ALL {
            let sites: Vec<Site> = (0..MAX_NODES).map(|index| Site::new(topology, index)).collect();
            let distinct = |of: fn(Site) -> Vec<String>| {
                let all: Vec<String> = sites.iter().flat_map(|site| of(*site)).collect();
                assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
            };
            distinct(|site| vec![site.name(), site.namespace()]);
            distinct(|site| site.pods().map(|it| it.to_string()).to_vec());
            distinct(|site| {
                site.addresses(Fabric::Vxlan).iter().map(ToString::to_string).collect()
            });
            for (range, subnets) in topology.pod_ranges().iter().zip([0, 1]) {
                assert!(sites.iter().all(|site| range.contains(&site.pods()[subnets])));
            }
        }
    }
}
