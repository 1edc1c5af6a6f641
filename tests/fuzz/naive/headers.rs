//! The naive reader's cursor, and the extension headers of IPv6.

/// The rest of a frame.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn take<const N: usize>(&mut self, fault: Fault) -> Result<[u8; N], Fault> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(fault)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self, fault: Fault) -> Result<u8, Fault> {
        Ok(self.take::<1>(fault)?[0])
    }

    pub(crate) fn u16(&mut self, fault: Fault) -> Result<u16, Fault> {
        self.take(fault).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, fault: Fault) -> Result<u32, Fault> {
        self.take(fault).map(u32::from_be_bytes)
    }

    pub(crate) fn u128(&mut self, fault: Fault) -> Result<u128, Fault> {
        self.take(fault).map(u128::from_be_bytes)
    }

    pub(crate) fn skip(&mut self, count: usize, fault: Fault) -> Result<(), Fault> {
        self.0 = self.0.get(count..).ok_or(fault)?;
        Ok(())
    }

    /// The bytes after the first `count`, if any.
    pub(crate) fn after(self, count: usize) -> Self {
        Self(self.0.get(count..).unwrap_or_default())
    }
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

/// A whole packet, or one fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    Whole,
    First { identification: u32 },
    Later { identification: u32 },
}

const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
/// Hop-by-hop, routing, destination, mobility, HIP, shim6: their length is in units of 8 bytes.
const EXTENSIONS: [u8; 6] = [0, 43, 60, 135, 139, 140];

/// The packet after IPv6's extension headers.
pub(crate) struct Chain<'a> {
    /// The first protocol number that is no extension header's, or that of a later fragment's
    /// payload.
    pub protocol: u8,
    /// The length of the extension headers, in bytes.
    pub before: usize,
    /// How many there are.
    pub extras: usize,
    pub piece: Piece,
    /// The payload's offset in its packet, in units of 8 bytes.
    pub offset: u16,
    pub rest: Bytes<'a>,
}

/// Reads extension headers, from one with the number `protocol` on (RFC 8200).
pub(crate) fn chain(mut protocol: u8, mut rest: Bytes<'_>) -> Result<Chain<'_>, Fault> {
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
    pub(crate) fn of(offset: u16, more: bool, identification: u32) -> Self {
        match (offset, more) {
            (0, false) => Self::Whole,
            (0, true) => Self::First { identification },
            _ => Self::Later { identification },
        }
    }
}
