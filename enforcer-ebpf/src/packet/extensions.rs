//! The chain of IPv6 extension headers (RFC 8200).

use super::bytes::{Bytes, bounded};
use super::fields::{Address6, Malformed, Packet};
use super::number::protocol;

/// The most IPv6 extension headers of a packet (semantics P1).
const EXTENSION_HEADERS: usize = 8;

/// The flag beside the offset in a fragment header (RFC 8200).
pub(super) const MORE_FRAGMENTS: u16 = 1;
/// The bits between offset and flag.
const RESERVED: u16 = 6;

/// Whether a next-header number is an extension header's.
#[inline(always)]
pub(super) fn is_extension(next: u8) -> bool {
    EXTENSIONS[next as usize] != 0
}

/// A header of the chain; the low bits are the factor of its length byte.
const EXTENSION: u8 = 0x80;
/// By next-header number: 0 for what is no extension header, else [`EXTENSION`] and the bytes
/// that one unit of the header's length stands for, beyond its first 8 (RFC 8200; RFC 4302 for
/// the authentication header; a fragment header has no length). A table, because the verifier
/// would follow each branch of a decision separately, in every round of the loop.
static EXTENSIONS: [u8; 256] = {
    let mut table = [0; 256];
    table[protocol::HOP_BY_HOP as usize] = EXTENSION | 8;
    table[protocol::ROUTING as usize] = EXTENSION | 8;
    table[protocol::FRAGMENT as usize] = EXTENSION;
    table[protocol::AUTHENTICATION as usize] = EXTENSION | 4;
    table[protocol::DESTINATION as usize] = EXTENSION | 8;
    table[protocol::MOBILITY as usize] = EXTENSION | 8;
    table[protocol::HIP as usize] = EXTENSION | 8;
    table[protocol::SHIM6 as usize] = EXTENSION | 8;
    table
};

/// The end of a chain of extension headers.
pub(super) struct Chain {
    /// The number of the next header: not an extension header, unless the chain was too long.
    pub(super) next: u8,
    /// Its offset.
    pub(super) offset: usize,
    /// The offset and flag of a fragment header; 0 for whole packets.
    pub(super) piece: u16,
    /// The identification of a fragment header.
    pub(super) identification: u32,
}

/// Walks up to [`EXTENSION_HEADERS`] headers from `offset` on, the first of them of kind `next`.
/// A later fragment has no transport header: the walk ends there.
#[inline(always)]
pub(super) fn walk<B: Bytes + ?Sized>(
    bytes: &B,
    mut next: u8,
    mut offset: usize,
) -> Result<Chain, Malformed> {
    let mut piece = 0;
    let mut identification = 0;
    for _ in 0..EXTENSION_HEADERS {
        let kind = EXTENSIONS[next as usize];
        if kind == 0 {
            break;
        }
        let header = bytes.view::<8>(bounded(bytes, offset).ok_or(Malformed)?).ok_or(Malformed)?;
        if next == protocol::FRAGMENT {
            piece = header.u16(2) & !RESERVED;
            identification = header.u32(4);
        }
        next = header.u8(0);
        if piece & !MORE_FRAGMENTS != 0 {
            break;
        }
        offset += 8 + ((header.u8(1) as usize * (kind & 15) as usize) & 0x7ff);
    }
    Ok(Chain { next, offset: bytes.settle(offset), piece, identification })
}

/// Walks a packet's extension headers and returns [`Chain::piece`].
#[inline(always)]
pub(super) fn extensions<B: Bytes + ?Sized>(
    bytes: &B,
    packet: &mut Packet<Address6>,
) -> Result<u16, Malformed> {
    let chain = walk(bytes, packet.protocol, packet.transport)?;
    packet.protocol = chain.next;
    packet.transport = chain.offset;
    packet.identification = chain.identification;
    let later = chain.piece & !MORE_FRAGMENTS != 0;
    if !later && is_extension(chain.next) { Err(Malformed) } else { Ok(chain.piece) }
}
