//! Addresses of few subnets, and blocks that overlap them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_core::model::Block;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::prop_oneof;
use proptest::sample::select;
use proptest::strategy::{Just, Strategy};

/// An IPv4 address of a pod, from two subnets with the same first two bytes and a distant one.
pub(super) fn v4() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        6 => (0..12_u8).prop_map(|host| Ipv4Addr::new(10, 0, 0, host)),
        2 => (0..4_u8).prop_map(|host| Ipv4Addr::new(10, 0, 1, host)),
        1 => (0..4_u8).prop_map(|host| Ipv4Addr::new(172, 16, host, 255)),
    ]
}

/// An IPv6 address of a pod; the distant one differs in the first half.
pub(super) fn v6() -> impl Strategy<Value = Ipv6Addr> {
    prop_oneof![
        6 => (0..12_u16).prop_map(|host| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host)),
        2 => (0..4_u16).prop_map(|host| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, host)),
        1 => (0..4_u16).prop_map(|host| Ipv6Addr::new(0xfd00, 0, 0, host, 0xffff, 0, 0, 1)),
    ]
}

/// One of the node's own addresses: often in a pod subnet, sometimes even a pod's.
pub(super) fn node() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        1 => v4().prop_map(IpAddr::V4),
        1 => v6().prop_map(IpAddr::V6),
        1 => Just(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 14))),
        1 => Just(IpAddr::V4(Ipv4Addr::new(10, 224, 0, 4))),
        1 => Just(IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 14))),
        1 => Just(IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1))),
    ]
}

fn prefix4() -> impl Strategy<Value = IpNet> {
    let lengths = vec![0, 1, 7, 8, 9, 15, 16, 17, 23, 24, 25, 28, 29, 30, 31, 32, 32];
    // The lengths are constants within range; a longer one would count as a whole address.
    (v4(), select(lengths))
        .prop_map(|(it, length)| Ipv4Net::new(it, length).unwrap_or(it.into()).into())
}

fn prefix6() -> impl Strategy<Value = IpNet> {
    let lengths =
        vec![0, 1, 7, 8, 48, 63, 64, 65, 111, 112, 113, 120, 124, 125, 126, 127, 128, 128];
    (v6(), select(lengths))
        .prop_map(|(it, length)| Ipv6Net::new(it, length).unwrap_or(it.into()).into())
}

fn prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![prefix4(), prefix6()]
}

/// The position of an exception relative to its block.
#[derive(Debug, Clone, Copy)]
enum Exception {
    /// Longer by some bits, at the block's start or end.
    Within { bits: u8, end: bool },
    /// Anywhere: within, around or outside.
    Anywhere(IpNet),
    /// The block itself.
    Itself,
}

fn exception() -> impl Strategy<Value = Exception> {
    prop_oneof![
        4 => (1..6_u8, any::<bool>()).prop_map(|(bits, end)| Exception::Within { bits, end }),
        4 => prefix().prop_map(Exception::Anywhere),
        1 => Just(Exception::Itself),
    ]
}

fn except(cidr: IpNet, exception: Exception) -> IpNet {
    match exception {
        Exception::Anywhere(prefix) => prefix,
        Exception::Itself => cidr,
        Exception::Within { bits, end } => {
            let address = if end { cidr.broadcast() } else { cidr.network() };
            let length = cidr.prefix_len().saturating_add(bits).min(cidr.max_prefix_len());
            IpNet::new(address, length).map_or(cidr, |it| it.trunc())
        }
    }
}

/// A block: mostly canonical like those from sources, sometimes with host bits, and with exceptions
/// that are nested, outside of the block, or cover it.
pub(super) fn block() -> impl Strategy<Value = Block> {
    (prefix(), vec(exception(), 0..4), proptest::bool::weighted(0.9)).prop_map(
        |(cidr, exceptions, canonical)| {
            let cidr = if canonical { cidr.trunc() } else { cidr };
            let excepts = exceptions.into_iter().map(|it| except(cidr, it));
            let excepts = excepts.map(|it| if canonical { it.trunc() } else { it });
            Block { cidr, except: excepts.filter(|it| !canonical || cidr.contains(it)).collect() }
        },
    )
}
