//! The meaning of [`Desired`], by the plainest reading of its documentation.

use std::net::IpAddr;

use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::verdict::Direction;
use ipnet::IpNet;

use crate::model::Protocol;
use crate::policy::{Column, PortSet, Verdict};
use crate::tables::{Desired, Owner};

/// An IP protocol number and a port.
pub(super) type Port = (u8, u16);

pub(super) fn column(desired: &Desired, address: IpAddr) -> Column {
    let compiled = &desired.compiled;
    compiled
        .addresses
        .iter()
        .filter(|(net, _)| net.contains(&address))
        .max_by_key(|(net, _)| net.prefix_len())
        .map_or(0, |(_, &column)| column)
}

pub(super) fn flags(desired: &Desired, address: IpAddr) -> u32 {
    let address = IpNet::from(address);
    let node = desired.compiled.node_addresses.contains(&address);
    let service = desired.compiled.service_addresses.contains(&address);
    (u32::from(node) * Entry::NODE) | (u32::from(service) * Entry::SERVICE)
}

/// `None`: no policy isolates the pod in that direction.
pub(super) fn verdict(
    desired: &Desired,
    ifindex: u32,
    direction: Direction,
    column: Column,
) -> Option<&Verdict> {
    let pod = match &desired.interfaces[&ifindex].owner {
        Owner::Pod(pod) => pod,
        Owner::Unknown { closed: false } => return None,
        Owner::Unknown { closed: true } | Owner::Gone(_) => return Some(&Verdict::Deny),
    };
    let policy = desired.compiled.pods.get(pod).copied().unwrap_or_default();
    let row = match direction {
        Direction::Ingress => policy.ingress,
        Direction::Egress => policy.egress,
    };
    row.map(|row| &desired.compiled.rows[row].verdicts[column])
}

pub(super) fn allows(verdict: Option<&Verdict>, (protocol, port): Port) -> bool {
    match verdict {
        None | Some(Verdict::Allow) => true,
        Some(Verdict::Deny) => false,
        Some(Verdict::Ports(set)) => has(set, protocol, port),
    }
}

fn has(set: &PortSet, protocol: u8, port: u16) -> bool {
    let Some(protocol) = Protocol::ALL.into_iter().find(|known| known.number() == protocol) else {
        return false;
    };
    let ranges = set.ranges.get(&protocol).map_or(&[][..], Vec::as_slice);
    ranges.iter().any(|range| range.first <= port && port <= range.last)
}
