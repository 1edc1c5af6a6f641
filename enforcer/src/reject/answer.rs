//! The answer to a denied packet, from the report of its drop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_ebpf::contract::event::Event;
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use enforcer_ebpf::packet::{protocol, role};
use etherparse::{IcmpEchoHeader, PacketBuilder, PacketBuilderStep, icmpv4, icmpv6};

use crate::observe::address;

type IpBuilder = PacketBuilderStep<etherparse::IpHeaders>;

/// TTL and hop limit of answers.
const HOPS: u8 = 64;

/// A packet that tells the sender of another that policy denies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The sender of the denied packet.
    pub to: IpAddr,
    /// The packet from its IP header on.
    pub packet: Vec<u8>,
}

/// The answer to a packet that policy denied, in its destination's name: a reset for a TCP segment (RFC
/// 9293, section 3.5.2), for UDP and echo requests an ICMP error that says "administratively prohibited".
/// `None`: the packet gets none. Those are resets and ICMP errors, which must not be answered (RFC 1122,
/// section 3.2.2), later fragments, packets from an address that is not the sending pod's, packets between other than unicast addresses, those that were dropped
/// for another reason, and other protocols: SCTP ignores errors without its verification tag, which the
/// report lacks.
#[must_use]
pub fn answer(event: &Event) -> Option<Answer> {
    if event.reason != Reason::Denied as u8 {
        return None;
    }
    // A pod that may send from any address chose this one: the answer would go to another.
    if event.direction == Direction::Egress as u8 && event.sender != [0, 0] {
        return None;
    }
    let ends = Ends {
        source: unicast(address(&event.source, event.version)?)?,
        destination: unicast(address(&event.destination, event.version)?)?,
    };
    let role = u8::try_from(event.role).ok()?;
    if role & (role::FRAGMENT | role::ERROR | role::RESETS) != 0 {
        return None;
    }
    let packet = match event.protocol {
        protocol::TCP => reset(&ends, event, role)?,
        protocol::UDP => prohibited(&ends, &udp(&ends, event)?)?,
        protocol::ICMP | protocol::ICMP6 => prohibited(&ends, &echo_request(&ends, event)?)?,
        _ => return None,
    };
    Some(Answer { to: ends.source, packet })
}

/// The ends of the denied packet.
struct Ends {
    source: IpAddr,
    destination: IpAddr,
}

impl Ends {
    /// A packet like the denied one.
    fn forward(&self) -> Option<IpBuilder> {
        between(self.source, self.destination)
    }

    /// A packet to its sender.
    fn back(&self) -> Option<IpBuilder> {
        between(self.destination, self.source)
    }
}

fn between(source: IpAddr, destination: IpAddr) -> Option<IpBuilder> {
    use etherparse::{IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6Header};
    // The builder sets the length, the protocol and the checksums.
    Some(PacketBuilder::ip(match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let (source, destination) = (source.octets(), destination.octets());
            let header = Ipv4Header::new(0, HOPS, IpNumber::TCP, source, destination).ok()?;
            IpHeaders::Ipv4(header, Ipv4Extensions::default())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6Header {
                hop_limit: HOPS,
                source: source.octets(),
                destination: destination.octets(),
                ..Ipv6Header::default()
            };
            IpHeaders::Ipv6(header, Ipv6Extensions::default())
        }
        _ => return None,
    }))
}

fn reset(ends: &Ends, event: &Event, role: u8) -> Option<Vec<u8>> {
    let (from, to) = (event.destination_port, event.source_port);
    let builder = ends.back()?;
    let builder = if role::opens(role) {
        // The SYN takes one number.
        builder.tcp(from, to, 0, 0).rst().ack(event.tcp_number.wrapping_add(1))
    } else {
        builder.tcp(from, to, event.tcp_number, 0).rst()
    };
    bytes(builder.size(0), |packet| builder.write(packet, &[]))
}

/// The denied datagram without its data, for the quote in an error.
fn udp(ends: &Ends, event: &Event) -> Option<Vec<u8>> {
    let builder = ends.forward()?.udp(event.source_port, event.destination_port);
    bytes(builder.size(0), |packet| builder.write(packet, &[]))
}

/// The denied echo request without its data; `None` for other ICMP.
fn echo_request(ends: &Ends, event: &Event) -> Option<Vec<u8>> {
    let [kind, _] = event.destination_port.to_be_bytes();
    let (id, seq) = (event.source_port, 0);
    let builder = ends.forward()?;
    match (event.version, kind) {
        (4, icmpv4::TYPE_ECHO_REQUEST) => {
            let builder = builder.icmpv4_echo_request(id, seq);
            bytes(builder.size(0), |packet| builder.write(packet, &[]))
        }
        (6, icmpv6::TYPE_ECHO_REQUEST) => {
            let header = IcmpEchoHeader { id, seq };
            let builder = builder.icmpv6(etherparse::Icmpv6Type::EchoRequest(header));
            bytes(builder.size(0), |packet| builder.write(packet, &[]))
        }
        _ => None,
    }
}

/// An ICMP error about the quoted packet: RFC 1812, section 5.2.7.1 (type 3, code 13), and RFC 4443,
/// section 3.1 (type 1, code 1).
fn prohibited(ends: &Ends, quote: &[u8]) -> Option<Vec<u8>> {
    use etherparse::icmpv4::DestUnreachableHeader;
    use etherparse::icmpv6::DestUnreachableCode;
    use etherparse::{Icmpv4Type, Icmpv6Type};
    let builder = ends.back()?;
    if ends.source.is_ipv4() {
        let header = DestUnreachableHeader::FilterProhibited;
        let builder = builder.icmpv4(Icmpv4Type::DestinationUnreachable(header));
        bytes(builder.size(quote.len()), |packet| builder.write(packet, quote))
    } else {
        let code = DestUnreachableCode::Prohibited;
        let builder = builder.icmpv6(Icmpv6Type::DestinationUnreachable(code));
        bytes(builder.size(quote.len()), |packet| builder.write(packet, quote))
    }
}

fn bytes<E>(size: usize, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Option<Vec<u8>> {
    let mut packet = Vec::with_capacity(size);
    write(&mut packet).ok()?;
    Some(packet)
}

/// The address, if it is one host's and routers forward packets to it.
fn unicast(address: IpAddr) -> Option<IpAddr> {
    let fits = match address {
        IpAddr::V4(it) => {
            let is_other = matches!(it, Ipv4Addr::UNSPECIFIED | Ipv4Addr::BROADCAST);
            !(is_other || it.is_multicast() || it.is_link_local() || it.is_loopback())
        }
        IpAddr::V6(it) => {
            !(it.is_multicast() || it.is_unicast_link_local() || it.is_loopback())
                && it != Ipv6Addr::UNSPECIFIED
        }
    };
    fits.then_some(address)
}

#[cfg(test)]
mod tests;
