//! The two shapes a node has on AKS, as addresses and names. Nothing here does I/O.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Serialize;

use super::links::Mac;

/// How pods are attached to their node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// Pods are ports of the bridge `cbr0` and share one subnet with it.
    Kubenet,
    /// No bridge: the node routes to each pod by a host route to its `azv…` interface, and the
    /// pod sends everything to a gateway address that only exists as a static neighbour.
    AzureCni,
}

impl Topology {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Kubenet, Self::AzureCni];

    /// The name as the command line writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kubenet => "kubenet",
            Self::AzureCni => "azure-cni",
        }
    }

    /// The pods' IPv4 subnet.
    #[must_use]
    pub const fn pods_v4(self) -> Ipv4Net {
        match self {
            Self::Kubenet => net4(Ipv4Addr::new(10, 244, 1, 0), 24),
            Self::AzureCni => net4(Ipv4Addr::new(10, 241, 0, 0), 24),
        }
    }

    /// The pods' IPv6 subnet.
    #[must_use]
    pub const fn pods_v6(self) -> Ipv6Net {
        match self {
            Self::Kubenet => net6(Ipv6Addr::new(0xfd00, 0x10, 0x244, 1, 0, 0, 0, 0), 64),
            Self::AzureCni => net6(Ipv6Addr::new(0xfd00, 0x10, 0x241, 0, 0, 0, 0, 0), 64),
        }
    }

    /// Both addresses of the subnet's host `number`, with the subnet's prefix lengths.
    #[must_use]
    pub fn host(self, number: u8) -> [IpNet; 2] {
        let v4 = u32::from(self.pods_v4().network()) + u32::from(number);
        let v6 = u128::from(self.pods_v6().network()) + u128::from(number);
        [
            net4(v4.into(), self.pods_v4().prefix_len()).into(),
            net6(v6.into(), self.pods_v6().prefix_len()).into(),
        ]
    }

    /// All addresses of the node (semantics A2), link-local ones aside.
    #[must_use]
    pub fn node_addresses(self) -> Vec<IpAddr> {
        let uplink = NODE_UPLINK.iter().map(IpNet::addr);
        let bridge = self.host(BRIDGE_HOST).map(|net| net.addr());
        uplink.chain(bridge.into_iter().filter(|_| self == Self::Kubenet)).collect()
    }

    /// What a pod's default routes point at: the bridge, or the addresses that Azure CNI uses.
    #[must_use]
    pub fn gateways(self) -> [IpAddr; 2] {
        match self {
            Self::Kubenet => self.host(BRIDGE_HOST).map(|net| net.addr()),
            Self::AzureCni => [
                Ipv4Addr::new(169, 254, 1, 1).into(),
                Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x1234, 0x5678, 0x9abc).into(),
            ],
        }
    }

    /// The hardware address that belongs to the host's IPv4 address, as the bridge plugin makes
    /// it: neighbours that remember an address need not learn anew when it moves to another pod.
    #[must_use]
    pub(crate) fn pod_mac(self, number: u8) -> Mac {
        let [a, b, c, _] = self.pods_v4().network().octets();
        [0x0a, 0x58, a, b, c, number]
    }

    /// The name of a pod's interface on the node. It can be told from nothing about the pod, as
    /// on a real node.
    #[must_use]
    pub fn interface(self, number: u8) -> String {
        // FNV-1a over topology and number: short, stable, and says nothing.
        let hash = [self as u8, number].iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        match self {
            Self::Kubenet => format!("veth{:08x}", hash & 0xffff_ffff),
            Self::AzureCni => format!("azv{:011x}", hash & 0xfff_ffff_ffff),
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "IPv4")]
    V4,
    /// IPv6.
    #[serde(rename = "IPv6")]
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// A client outside of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutsideClient {
    /// What the lab calls it.
    pub name: &'static str,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

/// The outside clients: two hosts of one network, one of another (documentation ranges, RFC 5737
/// and RFC 3849).
pub const OUTSIDE_CLIENTS: [OutsideClient; 3] = [
    OutsideClient {
        name: "office",
        v4: Ipv4Addr::new(198, 51, 100, 10),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 0x10),
    },
    OutsideClient {
        name: "guest",
        v4: Ipv4Addr::new(198, 51, 100, 200),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0xfe, 0, 0, 0, 0x200),
    },
    OutsideClient {
        name: "internet",
        v4: Ipv4Addr::new(203, 0, 113, 7),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 0x203, 0, 0, 0, 0, 7),
    },
];

/// The node's name, in `spec.nodeName` and for the agent.
pub const NODE_NAME: &str = "lab-node";

/// The node's uplink and its default gateway, the outside host.
pub(crate) const NODE_UPLINK: [IpNet; 2] = [
    IpNet::V4(net4(Ipv4Addr::new(10, 240, 0, 4), 24)),
    IpNet::V6(net6(Ipv6Addr::new(0xfd00, 0x10, 0x240, 0, 0, 0, 0, 4), 64)),
];
pub(crate) const OUTSIDE_UPLINK: [IpNet; 2] = [
    IpNet::V4(net4(Ipv4Addr::new(10, 240, 0, 1), 24)),
    IpNet::V6(net6(Ipv6Addr::new(0xfd00, 0x10, 0x240, 0, 0, 0, 0, 1), 64)),
];

/// The host number of `cbr0` in the pods' subnet.
pub(crate) const BRIDGE_HOST: u8 = 1;
/// The hardware address of every `azv…` interface.
pub(crate) const AZURE_MAC: Mac = [0xaa; 6];

/// Hands out host numbers of the pods' subnet, the lowest free one first: an address goes from
/// one pod to the next as soon as it can, which is the hard case (semantics C5).
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    taken: BTreeSet<u8>,
}

impl Hosts {
    const RANGE: std::ops::RangeInclusive<u8> = 2..=254;

    pub(crate) fn take(&mut self) -> Option<u8> {
        let free = Self::RANGE.into_iter().find(|number| !self.taken.contains(number))?;
        self.taken.insert(free);
        Some(free)
    }

    pub(crate) fn give_back(&mut self, number: u8) {
        self.taken.remove(&number);
    }
}

const fn net4(address: Ipv4Addr, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(address, prefix)
}

const fn net6(address: Ipv6Addr, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(address, prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_fit_the_kernel_and_differ() {
        for topology in Topology::ALL {
            let names: BTreeSet<String> = (0..=255).map(|n| topology.interface(n)).collect();
            assert_eq!(names.len(), 256);
            assert!(names.iter().all(|name| name.len() <= 15));
        }
    }

    #[test]
    fn the_lowest_free_host_comes_first() {
        let mut hosts = Hosts::default();
        assert_eq!((hosts.take(), hosts.take(), hosts.take()), (Some(2), Some(3), Some(4)));
        hosts.give_back(3);
        assert_eq!((hosts.take(), hosts.take()), (Some(3), Some(5)));
    }

    #[test]
    fn a_full_subnet_says_so() {
        let mut hosts = Hosts::default();
        assert_eq!(std::iter::from_fn(|| hosts.take()).count(), 253);
        assert_eq!(hosts.take(), None);
    }

    #[test]
    fn hosts_are_of_the_pods_subnet() {
        let [v4, v6] = Topology::Kubenet.host(1);
        assert_eq!(
            (v4.to_string(), v6.to_string()),
            ("10.244.1.1/24".to_owned(), "fd00:10:244:1::1/64".to_owned())
        );
    }
}
