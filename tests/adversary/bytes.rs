//! The bytes of a crafted packet, written from the RFCs.

mod payload;

use std::net::IpAddr;

use crate::cast::World;
use crate::crafted::{Body, Crafted, Lie, Outer, Piece, Tunnel, Way};
use crate::marks::{marked, short_mark};

use payload::{Ends, checksum, ends, payload, pseudo, short};

const FRAGMENT_HEADER: u8 = 44;
const AUTHENTICATION: u8 = 51;
/// The greatest frame of a pod's interface in this lab.
const LARGEST: usize = 9_000;
/// The hardware address of the node's VXLAN device, see the lab's `Site::tunnel_mac`.
const TUNNEL_MAC: [u8; 6] = [0x0a, 0x58, 10, 239, 0, 1];

/// A frame, and what the kernel is told of it (`struct virtio_net_hdr`).
#[derive(Debug, Clone)]
pub(crate) struct Bytes {
    pub offload: [u8; 10],
    pub frame: Vec<u8>,
    /// The frame is only the payload of IP, for a raw socket.
    pub raw: Option<Raw>,
}

/// What a raw socket is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw {
    pub tcp: bool,
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Bytes in the first step.
    pub linear: usize,
}

/// The frames of a crafted packet, in the order in which they are sent.
pub(crate) fn frames(crafted: &Crafted, mark: u32, world: &World) -> Vec<Bytes> {
    let Ends { source, destination, .. } = ends(crafted, world);
    if let Some(linear) = crafted.in_pages() {
        let (protocol, frame) = payload(crafted, world, usize::from(crafted.length), mark);
        let raw = Raw { tcp: protocol == 6, source, destination, linear: usize::from(linear) };
        return vec![Bytes { offload: [0; 10], frame, raw: Some(raw) }];
    }
    let outer = crafted.outer.map(|it| {
        let address = |what| world.address(what, crafted.by, it.v6);
        (it, address(it.source), address(it.destination))
    });
    let hop = outer.map_or(destination, |(_, _, destination)| destination);
    let mut link = world.mac(crafted.mac_to, crafted.by, hop, mark).to_vec();
    link.extend(world.mac(crafted.mac_from, crafted.by, source, mark));
    for vlan in &crafted.vlans {
        link.extend(0x8100_u16.to_be_bytes());
        link.extend(vlan.to_be_bytes());
    }
    let contents = match &crafted.body {
        Body::Arp(operation, sender, target, tail) => {
            let sender_mac = world.mac(crafted.mac_from, crafted.by, source, mark);
            let ends = [*sender, *target].map(|it| world.address(it, crafted.by, false));
            vec![(0x0806, payload::arp(*operation, sender_mac, ends, *tail, mark))]
        }
        Body::Other(kind) => vec![(*kind, marked(usize::from(crafted.length), mark))],
        _ => packets(crafted, mark, world),
    };
    let wrapped = contents.into_iter().map(|(kind, packet)| match outer {
        Some((outer, from, to)) => wrap(outer, from, to, kind, &packet),
        None => (kind, packet),
    });
    let built = wrapped.map(|(kind, packet)| {
        let mut frame = link.clone();
        frame.extend(kind.to_be_bytes());
        let network = frame.len();
        frame.extend(packet);
        let cut = crafted.cut.map_or(usize::MAX, usize::from).max(15);
        frame.truncate(cut);
        Bytes { offload: offload(crafted, network), frame, raw: None }
    });
    built.collect()
}

/// What the kernel is told of a frame whose network header begins there.
fn offload(crafted: &Crafted, network: usize) -> [u8; 10] {
    let mut header = [0; 10];
    match crafted.way {
        Way::Plain | Way::InPages(_) => {}
        Way::Paged(linear) => header[2..4].copy_from_slice(&linear.to_le_bytes()),
        Way::Segments(size) => {
            let tcp = matches!(crafted.body, Body::Tcp(..));
            let start = network + header_length(crafted);
            let (fixed, offset): (usize, u16) = if tcp { (20, 16) } else { (8, 6) };
            let word = |it: usize| u16::try_from(it).unwrap_or_default().to_le_bytes();
            // VIRTIO_NET_HDR_F_NEEDS_CSUM; GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4.
            header[0] = 1;
            header[1] = if !tcp {
                5
            } else if crafted.v6 {
                4
            } else {
                1
            };
            header[2..4].copy_from_slice(&word(start + fixed));
            header[4..6].copy_from_slice(&size.to_le_bytes());
            header[6..8].copy_from_slice(&word(start));
            header[8..10].copy_from_slice(&offset.to_le_bytes());
        }
    }
    header
}

fn header_length(crafted: &Crafted) -> usize {
    if crafted.v6 {
        let all = crafted.extensions.iter().chain(&crafted.late);
        return 40 + all.map(|it| extension(it.0, it.1, 0).len()).sum::<usize>();
    }
    20 + 4 * usize::from(crafted.options)
}

/// The IP packets, with their ether type.
fn packets(crafted: &Crafted, mark: u32, world: &World) -> Vec<(u16, Vec<u8>)> {
    let Ends { source, destination } = ends(crafted, world);
    let length = match crafted.way {
        Way::Plain | Way::InPages(_) => usize::from(crafted.length),
        // More than a page, and no more than an interface accepts.
        Way::Paged(_) => LARGEST / 2 + usize::from(crafted.length) % 1_000,
        Way::Segments(size) => usize::from(size) * 3,
    };
    let (protocol, mut transport) = payload(crafted, world, length, mark);
    match crafted.lie {
        Some(Lie::Transport(value)) => {
            let at = if protocol == 6 { 12 } else { 4 };
            if let Some(field) = transport.get_mut(at..at + 2) {
                field.copy_from_slice(&value.to_be_bytes());
            }
        }
        Some(Lie::Checksum) => {
            if let Some(byte) = transport.get_mut(3) {
                *byte ^= 0x55;
            }
        }
        _ => {}
    }
    let (kind, late) =
        if crafted.v6 { (0x86dd, chain(&crafted.late, protocol)) } else { (0x0800, vec![]) };
    let whole = [late, transport].concat();
    let first = crafted.late.first().filter(|_| crafted.v6).map_or(protocol, |it| it.0);
    let pieces = if crafted.pieces.is_empty() {
        vec![None]
    } else {
        crafted.pieces.iter().map(Some).collect()
    };
    let build = |piece: Option<&Piece>| {
        let part = piece.map_or(whole.as_slice(), |it| {
            let start = usize::from(it.start) * 8;
            let end = (start + usize::from(it.length) * 8).min(whole.len());
            // A last piece takes the rest.
            let end = if it.more { end } else { whole.len() };
            whole.get(start..end).unwrap_or_default()
        });
        let packet = match (source, destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                ipv4(crafted, [from.octets(), to.octets()], protocol, piece, part)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                ipv6(crafted, [from.octets(), to.octets()], first, piece, part)
            }
            _ => panic!("one packet has addresses of one family"),
        };
        (kind, packet)
    };
    pieces.into_iter().map(build).collect()
}

/// Offset and flag of a fragment, as in IPv4.
fn place(piece: Option<&Piece>) -> u16 {
    piece.map_or(0, |it| (it.start & 0x1fff) | if it.more { 0x2000 } else { 0 })
}

/// RFC 791.
fn ipv4(
    crafted: &Crafted,
    [source, destination]: [[u8; 4]; 2],
    protocol: u8,
    piece: Option<&Piece>,
    part: &[u8],
) -> Vec<u8> {
    let words = 5 + crafted.options.min(10);
    let mut header = vec![0x40 | words, 0];
    header.extend(short(usize::from(words) * 4 + part.len()).to_be_bytes());
    header.extend(&crafted.identification.to_be_bytes()[2..]);
    header.extend(place(piece).to_be_bytes());
    header.extend([crafted.hops, protocol, 0, 0]);
    header.extend(source);
    header.extend(destination);
    // No-operation options.
    header.resize(usize::from(words) * 4, 1);
    match crafted.lie {
        Some(Lie::Version(value)) => header[0] = value << 4 | words,
        Some(Lie::Words(value)) => header[0] = 0x40 | value & 15,
        Some(Lie::Total(value)) => header[2..4].copy_from_slice(&value.to_be_bytes()),
        Some(Lie::Protocol(value)) => header[9] = value,
        _ => {}
    }
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [header.as_slice(), part].concat()
}

/// RFC 8200.
fn ipv6(
    crafted: &Crafted,
    [source, destination]: [[u8; 16]; 2],
    first: u8,
    piece: Option<&Piece>,
    part: &[u8],
) -> Vec<u8> {
    let next = if piece.is_some() { FRAGMENT_HEADER } else { first };
    let mut headers = chain(&crafted.extensions, next);
    if let Some(it) = piece {
        headers.extend([first, 0]);
        headers.extend((it.start << 3 | u16::from(it.more)).to_be_bytes());
        headers.extend(crafted.identification.to_be_bytes());
    }
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(short(headers.len() + part.len()).to_be_bytes());
    packet.extend([crafted.extensions.first().map_or(next, |it| it.0), crafted.hops]);
    packet.extend(source);
    packet.extend(destination);
    match crafted.lie {
        Some(Lie::Version(value)) => packet[0] = value << 4,
        Some(Lie::Total(value)) => packet[4..6].copy_from_slice(&value.to_be_bytes()),
        Some(Lie::Protocol(value)) => packet[6] = value,
        _ => {}
    }
    packet.extend(headers);
    packet.extend(part);
    packet
}

/// Extension headers before a header of the kind `last`.
fn chain(kinds: &[(u8, u8)], last: u8) -> Vec<u8> {
    let nexts = kinds.iter().skip(1).map(|it| it.0).chain([last]);
    kinds
        .iter()
        .zip(nexts)
        .flat_map(|((kind, length), next)| extension(*kind, *length, next))
        .collect()
}

fn extension(kind: u8, length: u8, next: u8) -> Vec<u8> {
    // RFC 4302 counts in units of 4 bytes.
    let unit = if kind == AUTHENTICATION { 4 } else { 8 };
    let size = 8 + usize::from(length) * unit;
    let mut header = vec![0; size];
    (header[0], header[1]) = (next, length);
    if matches!(kind, 0 | 60) {
        // An unknown option that is to be skipped fills the header in pieces of up to 255 bytes.
        let mut at = 2;
        while at + 2 <= size {
            let filled = (size - at - 2).min(255);
            (header[at], header[at + 1]) = (0x1e, u8::try_from(filled).unwrap_or_default());
            at += 2 + filled;
        }
    }
    header
}

/// The packet inside a tunnel's headers, with the new ether type.
fn wrap(
    outer: Outer,
    source: IpAddr,
    destination: IpAddr,
    kind: u16,
    packet: &[u8],
) -> (u16, Vec<u8>) {
    let ethernet = [&TUNNEL_MAC[..], &short_mark(0), &kind.to_be_bytes(), packet].concat();
    let (protocol, payload) = match outer.kind {
        // RFC 7348; network 1 is the lab's.
        Tunnel::Vxlan => (17, udp(4_789, &[8, 0, 0, 0, 0, 0, 1, 0], &ethernet)),
        Tunnel::OldVxlan => (17, udp(8_472, &[8, 0, 0, 0, 0, 0, 1, 0], &ethernet)),
        // RFC 8926.
        Tunnel::Geneve => (17, udp(6_081, &[0, 0, 0x65, 0x58, 0, 0, 1, 0], &ethernet)),
        Tunnel::Gpe => {
            let next = if kind == 0x86dd { 2 } else { 1 };
            (17, udp(4_790, &[0x0c, 0, 0, next, 0, 0, 9, 0], packet))
        }
        Tunnel::Ip => (if kind == 0x86dd { 41 } else { 4 }, packet.to_vec()),
        // RFC 2784.
        Tunnel::Gre => (47, [&[0, 0], &kind.to_be_bytes()[..], packet].concat()),
    };
    let payload = match (protocol, source, destination) {
        (17, IpAddr::V6(_), IpAddr::V6(_)) => {
            let mut datagram = payload;
            let sum = checksum(
                &[pseudo(source, destination, 17, datagram.len()), datagram.clone()].concat(),
            );
            datagram[6..8].copy_from_slice(&if sum == 0 { 0xffff } else { sum }.to_be_bytes());
            datagram
        }
        _ => payload,
    };
    let plain = Crafted { v6: outer.v6, ..Crafted::default() };
    match (source, destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            (0x0800, ipv4(&plain, [from.octets(), to.octets()], protocol, None, &payload))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            (0x86dd, ipv6(&plain, [from.octets(), to.octets()], protocol, None, &payload))
        }
        _ => panic!("one packet has addresses of one family"),
    }
}

fn udp(port: u16, header: &[u8], packet: &[u8]) -> Vec<u8> {
    let length = short(8 + header.len() + packet.len());
    let ports = [50_000_u16, port, length, 0].map(u16::to_be_bytes).concat();
    [&ports, header, packet].concat()
}
