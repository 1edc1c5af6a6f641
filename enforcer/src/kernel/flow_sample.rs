//! A look at the flow tables: which flows are new, and how many each pod has with each other end.
//!
//! It is part of the sweep, which reads every entry in any case. A flow is new if the last look did not
//! see its hash; so a connection is missed only if it began and its entry was reused between two looks,
//! and a connection that reuses the ports of one that has not expired counts as the same.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_core::flows::Sighting;
use enforcer_ebpf::contract::flow::{Flow4, Flow6, FlowState, FlowTail, flags};
use enforcer_ebpf::contract::flow_table::Key;
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_ebpf::packet::protocol;

/// The most sightings of a look; the connections of further ones are only counted.
const SIGHTINGS: usize = 32_768;

/// Linux' first port for clients (`net.ipv4.ip_local_port_range`).
const FIRST_CLIENT_PORT: u16 = 32_768;

/// The addresses of a flow.
pub(super) trait Ends {
    /// The pod's address and the other end's as words, the higher one first.
    fn words(&self) -> [u64; 4];
    /// An address of such words.
    fn address(words: [u64; 2]) -> IpAddr;
}

impl Ends for Flow4 {
    fn words(&self) -> [u64; 4] {
        [0, self.local.into(), 0, self.remote.into()]
    }

    fn address([_, low]: [u64; 2]) -> IpAddr {
        Ipv4Addr::from_bits(u32::try_from(low).unwrap_or_default()).into()
    }
}

impl Ends for Flow6 {
    fn words(&self) -> [u64; 4] {
        let ([a, b], [c, d]) = (self.local, self.remote);
        [a, b, c, d]
    }

    fn address([high, low]: [u64; 2]) -> IpAddr {
        Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into()
    }
}

/// Looks at the flow tables.
#[derive(Debug, Default)]
pub struct FlowSample {
    /// The hashes of the flows of the last look, sorted.
    known: Vec<u64>,
    /// Those of this look, and the position of each flow's sighting.
    present: Vec<(u64, u32)>,
    /// The positions by what the flows have in common.
    positions: HashMap<Group, u32>,
    found: Vec<Sighting>,
    missed: u64,
}

/// What flows have in common that are one sighting: few words, since each flow is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Group([u64; 5]);

impl FlowSample {
    /// Takes a living flow.
    pub(super) fn take<K>(&mut self, key: &K, state: FlowState, hash: u64, seconds_ago: u64)
    where
        K: Key + Ends,
    {
        let (initiator, port) = initiator_and_port(key.tail(), state);
        let FlowTail { endpoint, protocol, .. } = *key.tail();
        let [a, b, c, d] = key.words();
        let rest = u64::from(endpoint)
            | u64::from(port) << 16
            | u64::from(protocol) << 32
            | (initiator as u64) << 40
            | u64::from(K::WORDS > Flow4::WORDS) << 41;
        let next = u32::try_from(self.found.len()).unwrap_or(u32::MAX);
        let position = match self.positions.entry(Group([a, b, c, d, rest])) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(free) if self.found.len() < SIGHTINGS => {
                self.found.push(Sighting {
                    endpoint: endpoint.into(),
                    local: K::address([a, b]),
                    remote: K::address([c, d]),
                    protocol,
                    port,
                    initiator,
                    new: 0,
                    open: 0,
                    answered: false,
                    seconds_ago,
                });
                *free.insert(next)
            }
            Entry::Vacant(_) => u32::MAX,
        };
        self.present.push((hash, position));
        if let Some(found) = self.found.get_mut(position as usize) {
            found.open += u64::from(state.is_established());
            found.answered |= state.flags & flags::ANSWERED != 0;
            found.seconds_ago = found.seconds_ago.min(seconds_ago);
        }
    }

    /// Ends a look: compares it with the last one.
    pub(super) fn end(&mut self) {
        self.present.sort_unstable();
        let mut known = self.known.iter().copied().peekable();
        for (hash, position) in &self.present {
            while known.next_if(|it| it < hash).is_some() {}
            if known.peek() == Some(hash) {
                continue;
            }
            match self.found.get_mut(*position as usize) {
                Some(found) => found.new += 1,
                None => self.missed += 1,
            }
        }
        drop(known);
        self.known = self.present.iter().map(|(hash, _)| *hash).collect();
        // The room for a full table is not kept.
        (self.present, self.positions) = (Vec::new(), HashMap::new());
    }

    /// The sightings of the last look, and the new connections that had no room.
    pub fn finish(&mut self) -> (Vec<Sighting>, u64) {
        (std::mem::take(&mut self.found), std::mem::take(&mut self.missed))
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
