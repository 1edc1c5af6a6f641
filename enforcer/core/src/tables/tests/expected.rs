//! The meaning of a [`Desired`], by the plainest reading of its documentation.

use std::collections::BTreeSet;
use std::net::IpAddr;

use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::verdict::Direction;
use ipnet::IpNet;

use crate::model::{PodId, Protocol};
use crate::policy::{Column, Verdict};
use crate::tables::{Desired, Interface, Owner};

/// An IP protocol number and a port.
pub(super) type Port = (u8, u16);

/// A desired state, and the parts of it that the tables have no room for.
#[derive(Clone, Default)]
pub(super) struct Meaning {
    pub(super) desired: Desired,
    pub(super) closed: BTreeSet<(PodId, Direction)>,
    /// Interfaces without an endpoint.
    pub(super) unplaced: BTreeSet<u32>,
}

impl Meaning {
    /// The interface, if it must have an endpoint.
    pub(super) fn interface(&self, ifindex: u32) -> Option<&Interface> {
        let placed = !self.unplaced.contains(&ifindex);
        self.desired.interfaces.get(&ifindex).filter(|_| placed)
    }
}

pub(super) fn flags(desired: &Desired, address: IpAddr) -> u32 {
    let address = IpNet::from(address);
    let node = desired.compiled.node_addresses.contains(&address);
    let service = desired.compiled.service_addresses.contains(&address);
    let external = desired.compiled.external_addresses.contains(&address);
    (u32::from(node) * Entry::NODE)
        | (u32::from(service) * Entry::SERVICE)
        | (u32::from(external) * Entry::EXTERNAL)
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
    let row = desired.compiled.pods.get(pod)?.row(direction)?;
    Some(&desired.compiled.rows[row].verdicts[column])
}

pub(super) fn allows(verdict: Option<&Verdict>, (protocol, port): Port) -> bool {
    match verdict {
        None | Some(Verdict::Allow) => true,
        Some(Verdict::Deny) => false,
        Some(Verdict::Ports(set)) => Protocol::ALL
            .into_iter()
            .find(|known| known.number() == protocol)
            .is_some_and(|protocol| set.contains(protocol, port)),
    }
}
