//! The payload of IP, and ARP.

use std::net::IpAddr;

use crate::cast::World;
use crate::crafted::{Address, Body, Crafted, Link, Quote, Tail};
use crate::marks::{marked, short_mark};

/// The protocol's number, and the bytes with their checksum.
pub(super) fn payload(crafted: &Crafted, world: &World, length: usize, mark: u32) -> (u8, Vec<u8>) {
    let v6 = crafted.v6;
    let data = marked(length, mark);
    let (protocol, mut bytes, sum_at) = match &crafted.body {
        Body::Udp(from, to) => {
            let header = [*from, *to, short(8 + length), 0].map(u16::to_be_bytes).concat();
            (17, [header, data].concat(), Some(6))
        }
        Body::Tcp(from, to, flags) => {
            let mut header = [*from, *to].map(u16::to_be_bytes).concat();
            header.extend([0, 0, 0x10, 0, 0, 0, 0x20, 0, 0x50, *flags, 0x20, 0, 0, 0, 0, 0]);
            (6, [header, data].concat(), Some(16))
        }
        Body::Echo(reply) => {
            let kind = match (v6, reply) {
                (false, false) => 8,
                (false, true) => 0,
                (true, false) => 128,
                (true, true) => 129,
            };
            (icmp(v6), [vec![kind, 0, 0, 0, 0, 7, 0, 1], data].concat(), Some(2))
        }
        Body::Error(kind, code, quote) => {
            let header = vec![*kind, *code, 0, 0, 0, 0, 0x05, 0];
            (icmp(v6), [header, quoted(quote, crafted, world), data].concat(), Some(2))
        }
        Body::Link(link, tail) if v6 => {
            (58, message(*link, *tail, crafted, world, &data, mark), Some(2))
        }
        Body::Link(..) => (2, [vec![0x16, 0, 0, 0, 224, 0, 0, 9], data].concat(), None),
        Body::Protocol(number) => (*number, data, None),
        Body::Arp(..) | Body::Other(_) => (59, data, None),
    };
    if let Some(at) = sum_at {
        let Ends { source, destination } = ends(crafted, world);
        let head = match (v6, protocol) {
            (false, 1) => Vec::new(),
            _ => pseudo(source, destination, protocol, bytes.len()),
        };
        let sum = checksum(&[head.as_slice(), &bytes].concat());
        let sum = if sum == 0 && protocol == 17 { 0xffff } else { sum };
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    (protocol, bytes)
}

const fn icmp(v6: bool) -> u8 {
    if v6 { 58 } else { 1 }
}

/// The packet that an error quotes: its headers.
fn quoted(quote: &Quote, crafted: &Crafted, world: &World) -> Vec<u8> {
    let address = |what| world.address(what, crafted.by, crafted.v6);
    let (source, destination) = (address(quote.source), address(quote.destination));
    let protocol = if quote.tcp { 6 } else { 17 };
    let mut transport = [quote.ports.0, quote.ports.1, 16, 0].map(u16::to_be_bytes).concat();
    if quote.tcp {
        transport.extend([0, 0, 0, 1, 0x50, 0x10, 0x20, 0, 0, 0, 0, 0]);
    }
    let mut bytes = Vec::new();
    match (source, destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            bytes.extend([0x45, 0, 0, 60, 0, 1, 0, 0, 63, protocol, 0, 0]);
            bytes.extend(from.octets());
            bytes.extend(to.octets());
            let sum = checksum(&bytes);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            bytes.extend([0x60, 0, 0, 0, 0, 40, protocol, 63]);
            bytes.extend(from.octets());
            bytes.extend(to.octets());
        }
        _ => panic!("one packet has addresses of one family"),
    }
    [bytes, transport].concat()
}

/// RFC 4861, RFC 2710, RFC 3810.
fn message(
    link: Link,
    tail: Tail,
    crafted: &Crafted,
    world: &World,
    data: &[u8],
    mark: u32,
) -> Vec<u8> {
    let octets = |what| match world.address(what, crafted.by, true) {
        IpAddr::V6(it) => it.octets(),
        IpAddr::V4(it) => it.to_ipv6_mapped().octets(),
    };
    let (kind, fixed, option) = match link {
        Link::Solicitation(target) => (135, [&[0; 4], &octets(target)[..]].concat(), Some(1)),
        Link::Advertisement(target) => {
            (136, [&[0x60, 0, 0, 0], &octets(target)[..]].concat(), Some(2))
        }
        Link::RouterSolicitation => (133, vec![0; 4], Some(1)),
        // One router for half an hour.
        Link::RouterAdvertisement => (
            134,
            [&[64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0][..], &marked_prefix(mark)].concat(),
            Some(1),
        ),
        Link::Redirect(target) => {
            let target = octets(target);
            (137, [&[0; 4], &target[..], &target, &marked_prefix(mark)].concat(), Some(2))
        }
        Link::Report => (131, [&[0; 4], &octets(crafted.destination)[..]].concat(), None),
        Link::Report2 => {
            let group = octets(crafted.destination);
            (143, [&[0, 0, 0, 1, 4, 0, 0, 0], &group[..]].concat(), None)
        }
        Link::Query => (130, [&[0; 4], &marked(16, mark)[..]].concat(), None),
    };
    let rest = match (tail, option) {
        (Tail::Exact, Some(option)) => [&[option, 1], &short_mark(mark)[..]].concat(),
        (Tail::Group, Some(option)) => vec![option, 1, 0x33, 0x33, 0, 0, 0, 1],
        (Tail::Exact | Tail::Group, None) => Vec::new(),
        (Tail::Options, Some(option)) => {
            let units = (data.len() + 2).div_ceil(8).clamp(2, 255);
            let mut bytes = vec![option, u8::try_from(units).unwrap_or(255)];
            bytes.extend(marked(units * 8 - 8, mark));
            bytes.extend([0; 6]);
            bytes
        }
        (Tail::Options, None) | (Tail::Marked, _) => data.to_vec(),
    };
    [vec![kind, 0, 0, 0], fixed, rest].concat()
}

/// An option of prefix information (RFC 4861, section 4.6.2) or the like, full of marks.
fn marked_prefix(mark: u32) -> Vec<u8> {
    [vec![3, 4], marked(24, mark), vec![0; 6]].concat()
}

/// RFC 826.
pub(super) fn arp(
    operation: u8,
    by: [u8; 6],
    [sender, target]: [IpAddr; 2],
    tail: Tail,
    mark: u32,
) -> Vec<u8> {
    let octets = |it| if let IpAddr::V4(it) = it { it.octets() } else { [0; 4] };
    let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, operation];
    bytes.extend(by);
    bytes.extend(octets(sender));
    bytes.extend([0; 6]);
    bytes.extend(octets(target));
    if !matches!(tail, Tail::Exact | Tail::Group) {
        bytes.extend(marked(64, mark));
    }
    bytes
}

/// The part of the IP header that a checksum covers.
pub(super) fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for end in [source, destination] {
        match end {
            IpAddr::V4(it) => bytes.extend(it.octets()),
            IpAddr::V6(it) => bytes.extend(it.octets()),
        }
    }
    bytes.extend(u32::try_from(length).unwrap_or_default().to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes
}

/// RFC 1071.
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|it| u32::from(it[0]) << 8 | u32::from(*it.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum ^ 0xffff).unwrap_or_default()
}

/// The addresses of the IP header.
pub(super) struct Ends {
    pub source: IpAddr,
    pub destination: IpAddr,
}

pub(super) fn ends(crafted: &Crafted, world: &World) -> Ends {
    let address = |what: Address| world.address(what, crafted.by, crafted.v6);
    Ends { source: address(crafted.source), destination: address(crafted.destination) }
}

pub(super) fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}
