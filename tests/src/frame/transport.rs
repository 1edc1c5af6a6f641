//! The payload of IP.

use enforcer_core::model::Protocol;

/// The payload of IP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// TCP, source and destination port.
    Tcp(u16, u16, Tcp),
    /// UDP, source and destination port.
    Udp(u16, u16),
    /// SCTP, source and destination port.
    Sctp(u16, u16),
    /// ICMP or ICMPv6.
    Icmp {
        /// The type in ICMP.
        v4: u8,
        /// The type in ICMPv6.
        v6: u8,
        /// The code.
        code: u8,
        /// Bytes 4 and 5: a query's identifier.
        identifier: u16,
        /// The bytes after the first 8: the quoted packet of an error.
        body: Vec<u8>,
    },
    /// Any other protocol, by number.
    Other(u8),
}

/// The packets of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tcp {
    /// The first packet.
    Syn,
    /// The reply to it.
    SynAck,
    /// Any later packet.
    Ack,
    /// The last packet of an end.
    Fin,
    /// The reset of the connection.
    Rst,
}

impl Transport {
    /// The first packet of a connection.
    pub fn open(protocol: Protocol, source: u16, destination: u16) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp(source, destination, Tcp::Syn),
            Protocol::Udp => Self::Udp(source, destination),
            Protocol::Sctp => Self::Sctp(source, destination),
        }
    }

    /// The reply to such a packet.
    pub fn answer(protocol: Protocol, source: u16, destination: u16) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp(source, destination, Tcp::SynAck),
            Protocol::Udp => Self::Udp(source, destination),
            Protocol::Sctp => Self::Sctp(source, destination),
        }
    }

    /// An echo request or its reply.
    pub fn echo(identifier: u16, reply: bool) -> Self {
        let (v4, v6) = if reply { (0, 129) } else { (8, 128) };
        Self::Icmp { v4, v6, code: 0, identifier, body: Vec::new() }
    }

    /// The IP protocol number.
    pub fn number(&self, v4: bool) -> u8 {
        match self {
            Self::Tcp(..) => 6,
            Self::Udp(..) => 17,
            Self::Sctp(..) => 132,
            Self::Icmp { .. } if v4 => 1,
            Self::Icmp { .. } => 58,
            Self::Other(number) => *number,
        }
    }

    /// The header's bytes, in IPv4 or in IPv6.
    pub(super) fn header(&self, in_v4: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Tcp(source, destination, kind) => {
                bytes.extend(source.to_be_bytes());
                bytes.extend(destination.to_be_bytes());
                bytes.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50]);
                bytes.push(match kind {
                    Tcp::Syn => 0x02,
                    Tcp::SynAck => 0x12,
                    Tcp::Ack => 0x10,
                    Tcp::Fin => 0x11,
                    Tcp::Rst => 0x14,
                });
                bytes.extend([0x20, 0, 0, 0, 0, 0]);
            }
            Self::Udp(source, destination) => {
                bytes.extend(source.to_be_bytes());
                bytes.extend(destination.to_be_bytes());
                bytes.extend([0, 32, 0, 0]);
            }
            Self::Sctp(source, destination) => {
                bytes.extend(source.to_be_bytes());
                bytes.extend(destination.to_be_bytes());
                bytes.extend([0; 8]);
            }
            Self::Icmp { v4, v6, code, identifier, body } => {
                bytes.extend([if in_v4 { *v4 } else { *v6 }, *code, 0, 0]);
                bytes.extend(identifier.to_be_bytes());
                bytes.extend([0, 1]);
                bytes.extend(body);
            }
            Self::Other(_) => bytes.extend([0xaa; 8]),
        }
        bytes
    }

    /// The length of the header's part that a parser must see, in bytes.
    pub(super) fn fixed(&self) -> usize {
        match self {
            Self::Tcp(..) => 20,
            Self::Udp(..) | Self::Icmp { .. } => 8,
            Self::Sctp(..) => 12,
            Self::Other(_) => 0,
        }
    }
}
