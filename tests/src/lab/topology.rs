//! The two shapes a node has on AKS, as addresses and names. Nothing here does I/O.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Serialize;

/// The most nodes of a lab.
pub const MAX_NODES: u8 = 4;

/// How pods are attached to their node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// Pods are ports of the bridge `cbr0` and share one subnet with it.
    Kubenet,
    /// No bridge: the node has a host route to each pod's `azv…` interface. The pod's gateway
    /// exists only as a static neighbour entry.
    AzureCni,
}

impl Topology {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Kubenet, Self::AzureCni];

    /// The ranges of all nodes' pod subnets.
    pub fn pod_ranges(self) -> [IpNet; 2] {
        let (v4, v6) = match self {
            Self::Kubenet => (244, 0x244),
            Self::AzureCni => (241, 0x241),
        };
        [
            net4(Ipv4Addr::new(10, v4, 0, 0), 16).into(),
            net6(Ipv6Addr::new(0xfd00, 0x10, v6, 0, 0, 0, 0, 0), 48).into(),
        ]
    }
}

/// How packets get from pods of one node to pods of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Fabric {
    /// The network between the nodes knows the pods' subnets, as on AKS.
    Routed,
    /// The nodes encapsulate packets in VXLAN, as overlay networks do.
    Vxlan,
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kubenet => "kubenet",
            Self::AzureCni => "azure-cni",
        })
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
    /// Its name.
    pub name: &'static str,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl OutsideClient {
    pub(crate) fn named(name: &str) -> Option<Self> {
        OUTSIDE_CLIENTS.into_iter().find(|it| it.name == name)
    }

    pub(crate) fn addresses(self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
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

/// Allocates host numbers of the pods' subnet, the lowest free one first: addresses are reused as
/// soon as possible, which is the hard case (semantics C5).
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

    pub(crate) fn free(&mut self, number: u8) {
        self.taken.remove(&number);
    }
}

pub(crate) const fn net4(address: Ipv4Addr, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(address, prefix)
}

pub(crate) const fn net6(address: Ipv6Addr, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(address, prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_host_comes_first() {
        let mut hosts = Hosts::default();
        assert_eq!((hosts.take(), hosts.take(), hosts.take()), (Some(2), Some(3), Some(4)));
        hosts.free(3);
        assert_eq!((hosts.take(), hosts.take()), (Some(3), Some(5)));
    }

    #[test]
    fn a_full_subnet_is_reported() {
        let mut hosts = Hosts::default();
        assert_eq!(std::iter::from_fn(|| hosts.take()).count(), 253);
        assert_eq!(hosts.take(), None);
    }
}
