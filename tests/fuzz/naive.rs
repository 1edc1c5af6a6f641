//! A packet reader made to be readable, not fast. It shares no code with the packet path.
//!
//! Written after the RFCs and P1, P2, P6 and A4 of ARCHITECTURE.md. It cuts a frame into its
//! headers from left to right; bytes that no verdict needs may be missing.

mod carried;
mod headers;
mod link;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use carried::carried;
pub(crate) use carried::{Carried, Icmp, Quote};
use headers::{Bytes, Chain, chain};
pub(crate) use headers::{Fault, Piece};

/// The contents of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// An IP packet.
    Ip(Read),
    /// Another protocol, by its ether type.
    Other(u16),
    /// An unreadable frame.
    Malformed(Fault),
}

/// A packet as policy and flows see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub hop_limit: u8,
    pub protocol: u8,
    pub piece: Piece,
    /// Extension headers or words of options: only to distinguish kinds of frames.
    pub extras: usize,
    /// The payload of IP; a later fragment does not show it.
    pub carried: Option<Carried>,
    /// Its part in keeping its link working, in words (semantics A4).
    pub link: String,
}

/// Frames of the same kind take the same path through a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Ip { v4: bool, protocol: u8, piece: u8, extras: usize, carried: u8 },
    Other(bool),
    Malformed(Fault),
}

impl Kind {
    pub(crate) fn fault(&self) -> Option<Fault> {
        if let Self::Malformed(fault) = self { Some(*fault) } else { None }
    }
}

impl Seen {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Malformed(fault) => Kind::Malformed(*fault),
            Self::Other(kind) => Kind::Other(*kind == ARP),
            Self::Ip(it) => Kind::Ip {
                v4: it.source.is_ipv4(),
                protocol: it.protocol,
                piece: match it.piece {
                    Piece::Whole => 0,
                    Piece::First { .. } => 1,
                    Piece::Later { .. } => 2,
                },
                extras: it.extras,
                carried: it.carried.as_ref().map_or(0, Carried::kind),
            },
        }
    }
}

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TAGS: [u16; 2] = [0x8100, 0x88a8];

/// Reads a frame.
pub(crate) fn read(frame: &[u8]) -> Seen {
    try_read(frame).unwrap_or_else(Seen::Malformed)
}

fn try_read(frame: &[u8]) -> Result<Seen, Fault> {
    let mut rest = Bytes(frame);
    rest.skip(12, Fault::Ethernet)?;
    let mut kind = rest.u16(Fault::Ethernet)?;
    let mut tags = 0;
    while TAGS.contains(&kind) {
        tags += 1;
        if tags > 2 {
            return Err(Fault::TooManyTags);
        }
        rest.skip(2, Fault::Ethernet)?;
        kind = rest.u16(Fault::Ethernet)?;
    }
    match kind {
        IPV4 => ipv4(rest).map(Seen::Ip),
        IPV6 => ipv6(rest).map(Seen::Ip),
        other => Ok(Seen::Other(other)),
    }
}

/// RFC 791.
fn ipv4(packet: Bytes<'_>) -> Result<Read, Fault> {
    let mut rest = packet;
    let first = rest.u8(Fault::IpCut)?;
    rest.skip(1, Fault::IpCut)?;
    let total = usize::from(rest.u16(Fault::IpCut)?);
    let identification = u32::from(rest.u16(Fault::IpCut)?);
    let fragment = rest.u16(Fault::IpCut)?;
    let hop_limit = rest.u8(Fault::IpCut)?;
    let protocol = rest.u8(Fault::IpCut)?;
    rest.skip(2, Fault::IpCut)?;
    let source = Ipv4Addr::from(rest.u32(Fault::IpCut)?).into();
    let destination = Ipv4Addr::from(rest.u32(Fault::IpCut)?).into();
    let (version, words) = (first / 16, usize::from(first % 16));
    if version != 4 {
        return Err(Fault::Version);
    }
    if words < 5 {
        return Err(Fault::HeaderLength);
    }
    // The kernel's own packets of more than 64 KiB have length 0.
    let room = match total {
        0 => None,
        _ => Some(total.checked_sub(4 * words).ok_or(Fault::TotalLength)?),
    };
    let (more, offset) = (fragment & 0x2000 != 0, fragment & 0x1fff);
    let payload = packet.after(4 * words);
    let read = Read {
        source,
        destination,
        hop_limit,
        protocol,
        piece: Piece::of(offset, more, identification),
        extras: words - 5,
        carried: None,
        link: "none".to_owned(),
    };
    read.carrying(payload, room, offset)
}

/// RFC 8200.
fn ipv6(packet: Bytes<'_>) -> Result<Read, Fault> {
    let mut rest = packet;
    let version = rest.u8(Fault::IpCut)? / 16;
    rest.skip(3, Fault::IpCut)?;
    let length = usize::from(rest.u16(Fault::IpCut)?);
    let protocol = rest.u8(Fault::IpCut)?;
    let hop_limit = rest.u8(Fault::IpCut)?;
    let source = Ipv6Addr::from(rest.u128(Fault::IpCut)?);
    let destination = Ipv6Addr::from(rest.u128(Fault::IpCut)?);
    if version != 6 {
        return Err(Fault::Version);
    }
    let Chain { protocol, before, extras, piece, offset, rest } = chain(protocol, rest)?;
    let link = if protocol == 58 && piece == Piece::Whole {
        link::part(&link::Message { source, destination, hop_limit, before, bytes: rest.0 })
    } else {
        "none".to_owned()
    };
    let (source, destination) = (source.into(), destination.into());
    let read =
        Read { source, destination, hop_limit, protocol, piece, extras, carried: None, link };
    // Jumbograms and the kernel's own packets of more than 64 KiB have length 0.
    let room = match (length, piece) {
        (0, _) | (_, Piece::Later { .. }) => None,
        _ => Some(length.checked_sub(before).ok_or(Fault::PayloadLength)?),
    };
    read.carrying(rest, room, offset)
}

impl Read {
    /// Adds the payload. `room`: its length according to the IP header, if given. `offset`: its
    /// offset in its packet, in units of 8 bytes.
    fn carrying(
        mut self,
        payload: Bytes<'_>,
        room: Option<usize>,
        offset: u16,
    ) -> Result<Self, Fault> {
        if offset == 0 {
            self.carried = Some(carried(self.source.is_ipv4(), self.protocol, payload, room)?);
        } else if offset == 1 && self.protocol == carried::TCP {
            // It would overwrite the flags of the first fragment (RFC 3128).
            return Err(Fault::OverlappingFragment);
        }
        Ok(self)
    }
}
