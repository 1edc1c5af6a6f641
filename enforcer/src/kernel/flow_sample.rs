//! A look at the flow tables: which flows are new, and how many each pod has with each other end.
//!
//! It is part of the sweep, which reads every entry in any case. A flow is new if the last look did not
//! see its hash; so a connection is missed only if it began and its entry was reused between two looks,
//! and a connection that reuses the ports of one that has not expired counts as the same.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_core::flows::Sighting;
use enforcer_ebpf::contract::flow::{Flow4, Flow6, FlowState, FlowTail, flags};
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_ebpf::packet::protocol;

/// The most sightings of a look; the connections of further ones are only counted.
const SIGHTINGS: usize = 32_768;

/// Linux' first port for clients (`net.ipv4.ip_local_port_range`).
const FIRST_CLIENT_PORT: u16 = 32_768;

/// The addresses of a flow.
pub(super) trait Ends {
    /// The pod's address, and the other end's.
    fn ends(&self) -> [IpAddr; 2];
}

impl Ends for Flow4 {
    fn ends(&self) -> [IpAddr; 2] {
        [self.local, self.remote].map(|it| Ipv4Addr::from_bits(it).into())
    }
}

impl Ends for Flow6 {
    fn ends(&self) -> [IpAddr; 2] {
        [self.local, self.remote]
            .map(|[high, low]| Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into())
    }
}

/// Looks at the flow tables.
#[derive(Debug, Default)]
pub struct FlowSample {
    /// The hashes of the flows of the last look, sorted.
    known: Vec<u64>,
    present: Vec<u64>,
    found: HashMap<Group, Found>,
    missed: u64,
}

/// What flows have in common that are one sighting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Group {
    ends: [IpAddr; 2],
    endpoint: u16,
    port: u16,
    protocol: u8,
    initiator: Direction,
}

#[derive(Debug, Default)]
struct Found {
    new: u64,
    open: u64,
    answered: bool,
    seconds_ago: u64,
}

impl FlowSample {
    /// Takes a living flow.
    pub(super) fn take<K>(&mut self, key: &K, state: FlowState, hash: u64, seconds_ago: u64)
    where
        K: enforcer_ebpf::contract::flow_table::Key + Ends,
    {
        let is_new = self.known.binary_search(&hash).is_err();
        self.present.push(hash);
        let (initiator, port) = initiator_and_port(key.tail(), state);
        let FlowTail { endpoint, protocol, .. } = *key.tail();
        let group = Group { ends: key.ends(), endpoint, port, protocol, initiator };
        if self.found.len() >= SIGHTINGS && !self.found.contains_key(&group) {
            self.missed += u64::from(is_new);
            return;
        }
        let first = || Found { seconds_ago, ..Found::default() };
        let found = self.found.entry(group).or_insert_with(first);
        found.new += u64::from(is_new);
        found.open += u64::from(state.is_established());
        found.answered |= state.flags & flags::ANSWERED != 0;
        found.seconds_ago = found.seconds_ago.min(seconds_ago);
    }

    /// Ends a look.
    pub(super) fn end(&mut self) {
        self.known = std::mem::take(&mut self.present);
        self.known.sort_unstable();
        self.known.shrink_to_fit();
    }

    /// The sightings of the last look, and the new connections that had no room.
    pub fn finish(&mut self) -> (Vec<Sighting>, u64) {
        let found = std::mem::take(&mut self.found);
        let sighting = |(group, found): (Group, Found)| {
            let Group { ends: [local, remote], endpoint, port, protocol, initiator } = group;
            let Found { new, open, answered, seconds_ago } = found;
            let endpoint = endpoint.into();
            Sighting {
                endpoint,
                local,
                remote,
                protocol,
                port,
                initiator,
                new,
                open,
                answered,
                seconds_ago,
            }
        };
        (found.into_iter().map(sighting).collect(), std::mem::take(&mut self.missed))
    }
}

/// The initiator, and the responder's port.
fn initiator_and_port(tail: &FlowTail, state: FlowState) -> (Direction, u16) {
    let FlowTail { local_port, remote_port, protocol, .. } = *tail;
    let has_ports = matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
    let from_pod = state.is_initiator(Direction::Egress);
    if !has_ports {
        return (if from_pod { Direction::Egress } else { Direction::Ingress }, 0);
    }
    // A server's answer without a known question: the node asked, whose packets have no entry, or it was
    // asked before the programs were loaded. UDP only: a pod's TCP flows begin with its SYN.
    let is_answer = protocol == protocol::UDP
        && local_port < FIRST_CLIENT_PORT
        && remote_port >= FIRST_CLIENT_PORT;
    if from_pod && !is_answer {
        (Direction::Egress, remote_port)
    } else {
        (Direction::Ingress, local_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(local_port: u16, remote_port: u16, protocol: u8) -> Flow4 {
        let tail = FlowTail { local_port, remote_port, endpoint: 7, protocol, reserved: 0 };
        Flow4 { local: 0x0a00_0001, remote: 0x0a00_0002, tail }
    }

    fn state(initiator: Direction, more: u16) -> FlowState {
        FlowState::new(0, initiator, protocol::TCP).with(more)
    }

    #[test]
    fn a_flow_is_new_once() {
        let mut sample = FlowSample::default();
        let opened = state(Direction::Egress, 0);
        for (hash, port) in [(1, 40_000), (2, 40_001)] {
            sample.take(&flow(port, 80, protocol::TCP), opened, hash, 5);
        }
        sample.end();
        let (seen, missed) = sample.finish();
        assert_eq!((seen.len(), missed), (1, 0));
        assert_eq!((seen[0].new, seen[0].open, seen[0].port, seen[0].endpoint), (2, 0, 80, 7));
        assert_eq!(seen[0].local, IpAddr::from([10, 0, 0, 1]));
        let established = state(Direction::Egress, flags::ESTABLISHED);
        sample.take(&flow(40_000, 80, protocol::TCP), established, 1, 3);
        sample.take(&flow(40_002, 80, protocol::TCP), established, 3, 1);
        sample.end();
        let (seen, _) = sample.finish();
        let it = &seen[0];
        assert_eq!((it.new, it.open, it.answered, it.seconds_ago), (1, 2, true, 1));
        // A flow that was gone for one look is another one.
        sample.take(&flow(40_001, 80, protocol::TCP), opened, 2, 0);
        sample.end();
        assert_eq!(sample.finish().0[0].new, 1);
    }

    #[test]
    fn the_responders_port_counts() {
        let of = |from: Direction, local, remote, protocol| {
            initiator_and_port(&flow(local, remote, protocol).tail, state(from, 0))
        };
        let (ingress, egress) = (Direction::Ingress, Direction::Egress);
        assert_eq!(of(egress, 40_000, 80, protocol::TCP), (egress, 80));
        assert_eq!(of(ingress, 80, 40_000, protocol::TCP), (ingress, 80));
        assert_eq!(of(egress, 80, 40_000, protocol::TCP), (egress, 40_000));
        assert_eq!(of(egress, 53, 40_000, protocol::UDP), (ingress, 53), "an answer to the node");
        assert_eq!(of(egress, 40_000, 53, protocol::UDP), (egress, 53));
        assert_eq!(of(egress, 123, 123, protocol::UDP), (egress, 123));
        assert_eq!(of(ingress, 99, 0, protocol::ICMP), (ingress, 0));
    }

    #[test]
    fn a_look_is_bounded() {
        let mut sample = FlowSample::default();
        for number in 0..SIGHTINGS as u64 + 10 {
            let remote = u32::try_from(number).unwrap();
            let key = Flow4 { remote, ..flow(1, 80, protocol::TCP) };
            sample.take(&key, state(Direction::Egress, 0), number, 0);
        }
        sample.end();
        let (seen, missed) = sample.finish();
        assert_eq!((seen.len(), missed), (SIGHTINGS, 10));
    }
}
