//! Addresses outside as `ipBlock`s.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::{Block, Peer};

/// That many addresses of one [`block_of`] are the whole block.
const MANY: usize = 4;

/// What an unlimited block must not contain: private, shared and link-local ranges, which pods, nodes
/// and the cloud's metadata services have.
const INSIDE: [&str; 7] = [
    "10.0.0.0/8",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
    "fe80::/10",
];

/// The /24 or /64 of an address.
fn block_of(address: IpAddr) -> Option<IpNet> {
    let length = if address.is_ipv4() { 24 } else { 64 };
    IpNet::new(address, length).ok().map(|it| it.trunc())
}

/// The blocks of these addresses: each alone, or their /24 or /64 if it has at least [`MANY`] of them and
/// none of the `known` addresses.
pub(super) fn blocks(addresses: &BTreeSet<IpAddr>, known: &BTreeSet<IpAddr>) -> Vec<Peer> {
    let mut by_block: BTreeMap<IpNet, Vec<IpAddr>> = BTreeMap::new();
    for address in addresses {
        if let Some(block) = block_of(*address) {
            by_block.entry(block).or_default().push(*address);
        }
    }
    let mut found: Vec<IpNet> = Vec::new();
    for (block, addresses) in by_block {
        let is_foreign = !known.iter().any(|it| block.contains(it));
        if addresses.len() >= MANY && is_foreign {
            found.push(block);
        } else {
            found.extend(addresses.into_iter().map(IpNet::from));
        }
    }
    let peer = |cidr| Peer::Block(Block { cidr, except: BTreeSet::new() });
    found.into_iter().map(peer).collect()
}

/// Everything outside of private ranges.
pub(super) fn everything() -> Vec<Peer> {
    let inside = INSIDE.iter().filter_map(|it| it.parse::<IpNet>().ok());
    let inside: Vec<IpNet> = inside.collect();
    let all = ["0.0.0.0/0", "::/0"].into_iter().filter_map(|it| it.parse::<IpNet>().ok());
    let block = |cidr: IpNet| {
        let except = inside.iter().filter(|it| cidr.contains(*it)).copied().collect();
        Peer::Block(Block { cidr, except })
    };
    all.map(block).collect()
}
