//! What arrived, read as far as the oracle needs it. Written from the RFCs, independently of the
//! packet path; what it can't read counts as unreadable.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_core::model::Protocol;
use enforcer_core::policy::reference::Traffic;

/// The contents of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Ip(Packet),
    Arp,
    /// Another ether type, or headers that can't be read.
    Unreadable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub hops: u8,
    pub protocol: u8,
    /// None: a later fragment, which shows no ports.
    pub traffic: Option<Traffic>,
    pub ports: (u16, u16),
    /// Type and code of ICMP.
    pub icmp: Option<(u8, u8)>,
    /// Where the payload of IP begins in the frame.
    pub payload: usize,
    /// Where the IP header begins.
    pub network: usize,
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(crate) fn read(frame: &[u8]) -> Seen {
    let mut at = 12;
    let mut kind = word(frame, at);
    while matches!(kind, Some(0x8100 | 0x88a8)) && at < 20 {
        at += 4;
        kind = word(frame, at);
    }
    match kind {
        Some(0x0806) => Seen::Arp,
        Some(0x0800 | 0x86dd) => packet(frame, at + 2).map_or(Seen::Unreadable, Seen::Ip),
        _ => Seen::Unreadable,
    }
}

/// An IP packet that begins there.
pub(crate) fn packet(frame: &[u8], network: usize) -> Option<Packet> {
    match frame.get(network)? >> 4 {
        4 => ipv4(frame, network),
        6 => ipv6(frame, network),
        _ => None,
    }
}

/// A quoted packet that begins there, of which little may be left.
pub(crate) fn quote(frame: &[u8], network: usize) -> Option<Packet> {
    packet(frame, network).or_else(|| {
        let whole = [frame.get(network..)?, &[0; 64]].concat();
        packet(&whole, 0)
    })
}

fn ipv4(frame: &[u8], network: usize) -> Option<Packet> {
    let header = frame.get(network..network + 20)?;
    let length = usize::from(header[0] & 15) * 4;
    if length < 20 {
        return None;
    }
    let address =
        |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(header.get(at..at + 4)?).ok()?));
    let packet = Packet {
        source: address(12)?.into(),
        destination: address(16)?.into(),
        hops: header[8],
        protocol: header[9],
        traffic: None,
        ports: (0, 0),
        icmp: None,
        payload: network + length,
        network,
    };
    if word(header, 6)? & 0x1fff != 0 {
        return Some(packet);
    }
    carried(frame, packet)
}

fn ipv6(frame: &[u8], network: usize) -> Option<Packet> {
    let header = frame.get(network..network + 40)?;
    let address =
        |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(header.get(at..at + 16)?).ok()?));
    let mut packet = Packet {
        source: address(8)?.into(),
        destination: address(24)?.into(),
        hops: header[7],
        protocol: header[6],
        traffic: None,
        ports: (0, 0),
        icmp: None,
        payload: network + 40,
        network,
    };
    for _ in 0..64 {
        let size =
            |unit: usize| frame.get(packet.payload + 1).map(|it| 8 + usize::from(*it) * unit);
        let next = *frame.get(packet.payload).unwrap_or(&59);
        match packet.protocol {
            0 | 43 | 60 | 135 | 139 | 140 => packet.payload += size(8)?,
            51 => packet.payload += size(4)?,
            44 => {
                let offset = word(frame, packet.payload + 2)?;
                packet.payload += 8;
                if offset & !7 != 0 {
                    packet.protocol = next;
                    return Some(packet);
                }
            }
            _ => return carried(frame, packet),
        }
        packet.protocol = next;
    }
    None
}

fn carried(frame: &[u8], mut packet: Packet) -> Option<Packet> {
    let port = |at| word(frame, packet.payload + at);
    let protocol = match packet.protocol {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        132 => Protocol::Sctp,
        number => {
            if matches!((number, packet.source), (1, IpAddr::V4(_)) | (58, IpAddr::V6(_))) {
                let [kind, code] = port(0)?.to_be_bytes();
                packet.icmp = Some((kind, code));
            }
            packet.traffic = Some(Traffic::Portless);
            return Some(packet);
        }
    };
    packet.ports = (port(0)?, port(2)?);
    packet.traffic = Some(Traffic::Port(protocol, packet.ports.1));
    // All of the fixed header must be there.
    let fixed = match protocol {
        Protocol::Tcp => 20,
        Protocol::Udp => 8,
        Protocol::Sctp => 12,
    };
    frame.get(packet.payload..packet.payload + fixed)?;
    Some(packet)
}

#[test]
fn a_packet_is_read_behind_tags_and_extensions() {
    use enforcer_tests::frame::{Frame, Transport};
    let (source, destination) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
    let plain = Frame::new(source, destination, Transport::Udp(7, 53));
    let frame = Frame { vlans: vec![3], extensions: vec![(0, 1), (60, 0)], ..plain };
    let Seen::Ip(packet) = read(&frame.build().bytes) else { panic!("unreadable") };
    assert_eq!((packet.source, packet.destination), (source, destination));
    assert_eq!(packet.traffic, Some(Traffic::Port(Protocol::Udp, 53)));
    assert_eq!(read(&frame.build().bytes[..60]), Seen::Unreadable);
}
