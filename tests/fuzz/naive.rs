//! A packet reader made to be readable, not fast. It shares no code with the packet path.
//!
//! Written after the RFCs and P1, P2, P6 and A4 of ARCHITECTURE.md. It cuts a frame into its
//! headers from left to right; bytes that no verdict needs may be missing.

mod carried;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use carried::carried;
pub(crate) use carried::{Carried, Icmp, Quote};

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

/// The reason for which a frame is unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Ethernet,
    TooManyTags,
    IpCut,
    Version,
    HeaderLength,
    TotalLength,
    ExtensionCut,
    TooManyExtensions,
    PayloadLength,
    TransportCut,
    TransportLength,
    OverlappingFragment,
}

impl Fault {
    pub(crate) const ALL: [Self; 12] = [
        Self::Ethernet,
        Self::TooManyTags,
        Self::IpCut,
        Self::Version,
        Self::HeaderLength,
        Self::TotalLength,
        Self::ExtensionCut,
        Self::TooManyExtensions,
        Self::PayloadLength,
        Self::TransportCut,
        Self::TransportLength,
        Self::OverlappingFragment,
    ];
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
}

/// A whole packet, or one fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    Whole,
    First { identification: u32 },
    Later { identification: u32 },
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
    };
    read.carrying(payload, room, offset)
}

const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
/// Hop-by-hop, routing, destination, mobility, HIP, shim6: their length is in units of 8 bytes.
const EXTENSIONS: [u8; 6] = [0, 43, 60, 135, 139, 140];

/// RFC 8200.
fn ipv6(packet: Bytes<'_>) -> Result<Read, Fault> {
    let mut rest = packet;
    let version = rest.u8(Fault::IpCut)? / 16;
    rest.skip(3, Fault::IpCut)?;
    let length = usize::from(rest.u16(Fault::IpCut)?);
    let protocol = rest.u8(Fault::IpCut)?;
    let hop_limit = rest.u8(Fault::IpCut)?;
    let source = Ipv6Addr::from(rest.u128(Fault::IpCut)?).into();
    let destination = Ipv6Addr::from(rest.u128(Fault::IpCut)?).into();
    if version != 6 {
        return Err(Fault::Version);
    }
    let Chain { protocol, before, extras, piece, offset, rest } = chain(protocol, rest)?;
    let read = Read { source, destination, hop_limit, protocol, piece, extras, carried: None };
    // Jumbograms and the kernel's own packets of more than 64 KiB have length 0.
    let room = match (length, piece) {
        (0, _) | (_, Piece::Later { .. }) => None,
        _ => Some(length.checked_sub(before).ok_or(Fault::PayloadLength)?),
    };
    read.carrying(rest, room, offset)
}

/// The packet after IPv6's extension headers.
struct Chain<'a> {
    /// The first protocol number that is no extension header's, or that of a later fragment's
    /// payload.
    protocol: u8,
    /// The length of the extension headers, in bytes.
    before: usize,
    /// How many there are.
    extras: usize,
    piece: Piece,
    /// The payload's offset in its packet, in units of 8 bytes.
    offset: u16,
    rest: Bytes<'a>,
}

/// Reads extension headers, from one with the number `protocol` on (RFC 8200).
fn chain(mut protocol: u8, mut rest: Bytes<'_>) -> Result<Chain<'_>, Fault> {
    let (mut before, mut extras) = (0, 0);
    let (mut piece, mut offset) = (Piece::Whole, 0);
    while protocol == FRAGMENT || protocol == AUTHENTICATION || EXTENSIONS.contains(&protocol) {
        extras += 1;
        if extras > 8 {
            return Err(Fault::TooManyExtensions);
        }
        let mut header = rest;
        let next = header.u8(Fault::ExtensionCut)?;
        let units = usize::from(header.u8(Fault::ExtensionCut)?);
        let middle = header.u16(Fault::ExtensionCut)?;
        let identification = header.u32(Fault::ExtensionCut)?;
        let size = match protocol {
            FRAGMENT => 8,
            AUTHENTICATION => 8 + 4 * units,
            _ => 8 + 8 * units,
        };
        if protocol == FRAGMENT {
            offset = middle >> 3;
            piece = Piece::of(offset, middle & 1 != 0, identification);
        }
        protocol = next;
        before += size;
        rest = rest.after(size);
        if offset != 0 {
            break;
        }
    }
    Ok(Chain { protocol, before, extras, piece, offset, rest })
}

impl Piece {
    fn of(offset: u16, more: bool, identification: u32) -> Self {
        match (offset, more) {
            (0, false) => Self::Whole,
            (0, true) => Self::First { identification },
            _ => Self::Later { identification },
        }
    }
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

    /// Whether it is a message that a link needs (semantics A4; RFC 4861, RFC 2710, RFC 3810).
    pub(crate) fn is_link_message(&self) -> bool {
        let (IpAddr::V6(source), Some(Carried::Icmp { kind, code, .. })) =
            (self.source, &self.carried)
        else {
            return false;
        };
        let local = source.segments()[0] & 0xffc0 == 0xfe80;
        if self.piece != Piece::Whole {
            return false;
        }
        match kind {
            133 | 135 | 136 => self.hop_limit == 255 && *code == 0,
            134 | 137 => self.hop_limit == 255 && *code == 0 && local,
            130 | 131 | 132 | 143 => {
                self.hop_limit == 1 && (local || source == Ipv6Addr::UNSPECIFIED)
            }
            _ => false,
        }
    }
}

/// The rest of a frame.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    fn take<const N: usize>(&mut self, fault: Fault) -> Result<[u8; N], Fault> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(fault)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self, fault: Fault) -> Result<u8, Fault> {
        Ok(self.take::<1>(fault)?[0])
    }

    fn u16(&mut self, fault: Fault) -> Result<u16, Fault> {
        self.take(fault).map(u16::from_be_bytes)
    }

    fn u32(&mut self, fault: Fault) -> Result<u32, Fault> {
        self.take(fault).map(u32::from_be_bytes)
    }

    fn u128(&mut self, fault: Fault) -> Result<u128, Fault> {
        self.take(fault).map(u128::from_be_bytes)
    }

    fn skip(&mut self, count: usize, fault: Fault) -> Result<(), Fault> {
        self.0 = self.0.get(count..).ok_or(fault)?;
        Ok(())
    }

    /// The bytes after the first `count`, if any.
    fn after(self, count: usize) -> Self {
        Self(self.0.get(count..).unwrap_or_default())
    }
}
