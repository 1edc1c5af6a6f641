//! The flows of this node's pods in the entries of connection tracking.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use enforcer_ebpf::contract::verdict::Direction;

use super::entry::{Entry, Progress};

/// A living flow, as the programs see it at a pod's interface: before a Service's address is
/// translated on the way out, and after a client's is on the way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The pod's endpoint id.
    pub endpoint: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// The pod's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// [`Direction::Egress`] if the pod is the initiator.
    pub initiator: Direction,
    /// How far it has got.
    pub progress: Progress,
    /// The time until it ends, if no packet follows.
    pub remaining: Duration,
}

/// Finds the flows of endpoints.
#[derive(Debug, Default)]
pub struct Flows {
    /// The endpoints whose flows are wanted, by their own address. No other endpoint has it.
    pub endpoints: BTreeMap<IpAddr, u32>,
    /// The ports that pods declare to serve, by protocol number and address.
    pub served: BTreeSet<(u8, SocketAddr)>,
}

impl Flows {
    /// The flows of an entry: none, that of its initiator, that of its responder, or both.
    pub fn of(&self, entry: &Entry) -> impl Iterator<Item = Flow> {
        let flow = |local: SocketAddr, remote, initiator| {
            let endpoint = *self.endpoints.get(&local.ip())?;
            let Entry { protocol, progress, remaining, .. } = *entry;
            Some(Flow { endpoint, protocol, local, remote, initiator, progress, remaining })
        };
        let Entry { original, reply, .. } = entry;
        let flows = if self.contradicts(entry) {
            [None, None]
        } else {
            [
                flow(original.source, original.destination, Direction::Egress),
                flow(reply.source, reply.destination, Direction::Ingress),
            ]
        };
        flows.into_iter().flatten()
    }

    /// Whether the alleged initiator sends from a port that it declares to serve, to one that the
    /// responder does not. Before the first installation, a pod could send in another's name: with
    /// forged first packets, a client can appear to be its server.
    fn contradicts(&self, Entry { protocol, original, reply, .. }: &Entry) -> bool {
        self.served.contains(&(*protocol, original.source))
            && !self.served.contains(&(*protocol, reply.source))
    }
}

#[cfg(test)]
mod tests {
    use enforcer_ebpf::packet::protocol;

    use super::super::entry::Tuple;
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn entry(original: [&str; 2], reply: [&str; 2]) -> Entry {
        let tuple = |[from, to]: [&str; 2]| Tuple { source: at(from), destination: at(to) };
        Entry {
            protocol: protocol::TCP,
            original: tuple(original),
            reply: tuple(reply),
            progress: Progress::Established,
            remaining: Duration::from_secs(86_400),
        }
    }

    fn flows(endpoints: &[(&str, u32)]) -> Flows {
        let endpoints = endpoints.iter().map(|(address, id)| (address.parse().unwrap(), *id));
        Flows { endpoints: endpoints.collect(), ..Flows::default() }
    }

    fn ends(flows: &Flows, entry: &Entry) -> Vec<(u32, SocketAddr, SocketAddr, Direction)> {
        let ends = |it: Flow| (it.endpoint, it.local, it.remote, it.initiator);
        flows.of(entry).map(ends).collect()
    }

    #[test]
    fn c8_each_end_has_the_addresses_that_it_sees() {
        // A pod, a Service's address, the backend; and the same masqueraded by the node.
        let [pod, service, server] = ["10.1.0.2:40000", "10.0.0.1:80", "10.1.0.3:8080"];
        let both = flows(&[("10.1.0.2", 2), ("10.1.0.3", 3)]);
        let direct = entry([pod, server], [server, pod]);
        assert_eq!(
            ends(&both, &direct),
            [
                (2, at(pod), at(server), Direction::Egress),
                (3, at(server), at(pod), Direction::Ingress)
            ]
        );
        let translated = entry([pod, service], [server, pod]);
        assert_eq!(
            ends(&both, &translated),
            [
                (2, at(pod), at(service), Direction::Egress),
                (3, at(server), at(pod), Direction::Ingress)
            ]
        );
        let node = "10.9.0.1:6000";
        let masqueraded = entry(["192.0.2.7:5000", "10.9.0.1:30080"], [server, node]);
        assert_eq!(ends(&both, &masqueraded), [(3, at(server), at(node), Direction::Ingress)]);
        let elsewhere = entry([pod, "192.0.2.7:443"], ["192.0.2.7:443", "10.9.0.1:40000"]);
        let here = (2, at(pod), at("192.0.2.7:443"), Direction::Egress);
        assert_eq!(ends(&both, &elsewhere), [here]);
        assert_eq!(ends(&flows(&[]), &direct), []);
    }

    #[test]
    fn c8_a_server_is_no_initiator() {
        let [server, client] = ["10.1.0.3:8080", "10.1.0.2:6000"];
        let forged = entry([server, client], [client, server]);
        let mut flows = flows(&[("10.1.0.2", 2), ("10.1.0.3", 3)]);
        assert_eq!(flows.of(&forged).count(), 2);
        flows.served.insert((protocol::UDP, at(server)));
        assert_eq!(flows.of(&forged).count(), 2);
        flows.served.insert((protocol::TCP, at(server)));
        assert_eq!(flows.of(&forged).count(), 0);
        // Peers that use one port for both roles.
        flows.served.insert((protocol::TCP, at(client)));
        assert_eq!(flows.of(&forged).count(), 2);
        let ordinary = entry([client, server], [server, client]);
        assert_eq!(flows.of(&ordinary).count(), 2);
    }
}
