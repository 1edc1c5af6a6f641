//! The first packet of a connection, as a frame.

use std::fmt;
use std::net::IpAddr;

use enforcer_core::model::{Protocol, Traffic};
use etherparse::{IpNumber, PacketBuilder};

/// The sender's port: the first ephemeral one (RFC 6335, section 6).
const OWN_PORT: u16 = 49_152;
/// The length of the shortest frame that kernels accept in test runs.
const SHORTEST: usize = 60;
/// Locally administered hardware addresses.
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const RECEIVER: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The TTL or hop limit.
const HOPS: u8 = 64;

/// A packet that opens a connection; for protocols without ports an echo request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::agent) struct Packet {
    pub(in crate::agent) from: IpAddr,
    pub(in crate::agent) to: IpAddr,
    pub(in crate::agent) traffic: Traffic,
}

impl Packet {
    /// The frame; `None`: the addresses have different families.
    pub(in crate::agent) fn frame(&self) -> Option<Vec<u8>> {
        let link = PacketBuilder::ethernet2(SENDER, RECEIVER);
        let builder = match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => link.ipv4(from.octets(), to.octets(), HOPS),
            (IpAddr::V6(from), IpAddr::V6(to)) => link.ipv6(from.octets(), to.octets(), HOPS),
            _ => return None,
        };
        let mut frame = Vec::new();
        let written = match self.traffic {
            Traffic::Portless if self.from.is_ipv4() => {
                builder.icmpv4_echo_request(1, 1).write(&mut frame, &[])
            }
            Traffic::Portless => builder.icmpv6_echo_request(1, 1).write(&mut frame, &[]),
            Traffic::Port(Protocol::Tcp, port) => {
                builder.tcp(OWN_PORT, port, 1, u16::MAX).syn().write(&mut frame, &[])
            }
            Traffic::Port(Protocol::Udp, port) => {
                builder.udp(OWN_PORT, port).write(&mut frame, &[])
            }
            Traffic::Port(Protocol::Sctp, port) => {
                builder.write(&mut frame, IpNumber::SCTP, &association(port))
            }
        };
        written.ok()?;
        frame.resize(frame.len().max(SHORTEST), 0);
        Some(frame)
    }
}

/// The packet that opens an SCTP association: INIT (RFC 9260, section 3.3.2). Its checksum is zero: nobody
/// delivers it, and the programs leave checking to the receiver.
fn association(port: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(OWN_PORT.to_be_bytes());
    packet.extend(port.to_be_bytes());
    packet.extend([0; 8]);
    packet.extend([1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    packet
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, traffic } = self;
        match traffic {
            Traffic::Port(protocol, port) => {
                let end = |address: &IpAddr, port| std::net::SocketAddr::new(*address, port);
                write!(f, "{} → {} {protocol}", end(from, OWN_PORT), end(to, *port))
            }
            Traffic::Portless => write!(f, "{from} → {to} ICMP echo request"),
        }
    }
}

#[cfg(test)]
mod tests {
    use enforcer_ebpf::packet::{self, ethertype};

    use super::*;

    fn packet(from: &str, to: &str, traffic: Traffic) -> Packet {
        Packet { from: from.parse().unwrap(), to: to.parse().unwrap(), traffic }
    }

    #[test]
    fn the_programs_parser_reads_every_frame() {
        let ports = Protocol::ALL.map(|it| Traffic::Port(it, 4_711));
        for traffic in ports.into_iter().chain([Traffic::Portless]) {
            for (from, to, kind) in
                [("10.0.0.1", "10.0.0.2", ethertype::IPV4), ("fd00::1", "fd00::2", ethertype::IPV6)]
            {
                let built = packet(from, to, traffic);
                let frame = built.frame().unwrap();
                assert!(frame.len() >= SHORTEST);
                let (found, start) = packet::ethernet(&frame[..]).unwrap();
                assert_eq!(found, kind);
                let (protocol, ports) = match kind {
                    ethertype::IPV4 => {
                        let it = packet::ipv4(&frame[..], start).unwrap();
                        (it.protocol, (it.source_port, it.destination_port))
                    }
                    _ => {
                        let it = packet::ipv6(&frame[..], start).unwrap();
                        (it.protocol, (it.source_port, it.destination_port))
                    }
                };
                match traffic {
                    Traffic::Port(of, port) => {
                        assert_eq!((protocol, ports), (of.number(), (OWN_PORT, port)), "{built}");
                    }
                    Traffic::Portless => assert!([1, 58].contains(&protocol), "{built}"),
                }
            }
        }
        assert_eq!(packet("10.0.0.1", "fd00::1", Traffic::Portless).frame(), None);
    }

    #[test]
    fn a_packet_reads_like_an_address() {
        let tcp = packet("fd00::1", "fd00::2", Traffic::Port(Protocol::Tcp, 80));
        assert_eq!(tcp.to_string(), "[fd00::1]:49152 → [fd00::2]:80 TCP");
        let ping = packet("10.0.0.1", "10.0.0.2", Traffic::Portless);
        assert_eq!(ping.to_string(), "10.0.0.1 → 10.0.0.2 ICMP echo request");
    }
}
