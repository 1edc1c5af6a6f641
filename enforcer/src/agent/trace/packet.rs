//! The first packet of a connection, as a frame. Checksums are zero: nobody delivers it, and the programs
//! leave checking them to the receiver.

use std::fmt;
use std::net::IpAddr;

use enforcer_core::model::{Protocol, Traffic};

/// The sender's port: the first ephemeral one (RFC 6335, section 6).
const OWN_PORT: u16 = 49_152;
/// The length of the shortest frame that kernels accept in test runs.
const SHORTEST: usize = 60;
/// ICMP and ICMPv6 (IANA's protocol numbers).
const ICMP: u8 = 1;
const ICMP6: u8 = 58;

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
        // Locally administered hardware addresses.
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        let payload = self.payload();
        let length = u16::try_from(payload.len()).ok()?;
        match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend([0x08, 0x00, 0x45, 0]);
                frame.extend((length + 20).to_be_bytes());
                frame.extend([0, 0, 0x40, 0, 64, self.protocol(), 0, 0]);
                frame.extend(from.octets());
                frame.extend(to.octets());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend(length.to_be_bytes());
                frame.extend([self.protocol(), 64]);
                frame.extend(from.octets());
                frame.extend(to.octets());
            }
            _ => return None,
        }
        frame.extend(payload);
        frame.resize(frame.len().max(SHORTEST), 0);
        Some(frame)
    }

    const fn protocol(&self) -> u8 {
        match (self.traffic, self.from) {
            (Traffic::Port(protocol, _), _) => protocol.number(),
            (Traffic::Portless, IpAddr::V4(_)) => ICMP,
            (Traffic::Portless, IpAddr::V6(_)) => ICMP6,
        }
    }

    fn payload(&self) -> Vec<u8> {
        let Traffic::Port(protocol, port) = self.traffic else {
            let kind = if self.from.is_ipv4() { 8 } else { 128 };
            return vec![kind, 0, 0, 0, 0, 1, 0, 1];
        };
        let mut payload = Vec::new();
        payload.extend(OWN_PORT.to_be_bytes());
        payload.extend(port.to_be_bytes());
        match protocol {
            // A SYN without options (RFC 9293).
            Protocol::Tcp => {
                payload.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
            }
            Protocol::Udp => payload.extend([0, 8, 0, 0]),
            // INIT (RFC 9260, section 3.3.2).
            Protocol::Sctp => {
                payload.extend([0; 8]);
                payload.extend([1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
            }
        }
        payload
    }
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
                assert_eq!(protocol, built.protocol());
                if let Traffic::Port(_, port) = traffic {
                    assert_eq!(ports, (OWN_PORT, port), "{built}");
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
