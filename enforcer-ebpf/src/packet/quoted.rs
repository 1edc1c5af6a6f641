//! The packets that ICMP errors quote.

use super::bytes::{Bytes, bounded};
use super::extensions::{MORE_FRAGMENTS, is_extension, walk};
use super::fields::{Address6, Packet};
use super::number::protocol;
use super::transport::{icmp4_role, icmp6_role};

/// The fields of the packet that an ICMP error quotes (RFC 792, RFC 4443).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted<A> {
    /// Source address as a number.
    pub source: A,
    /// Destination address as a number.
    pub destination: A,
    /// Source port, or the identifier of an ICMP query.
    pub source_port: u16,
    /// Destination port, or the kind of an ICMP query.
    pub destination_port: u16,
    /// The protocol.
    pub protocol: u8,
}

/// Reads the first eight bytes of the quoted transport header: errors need not quote more.
#[inline(always)]
fn quoted_ports<B: Bytes + ?Sized, A>(
    bytes: &B,
    quoted: &mut Quoted<A>,
    offset: usize,
    icmp: u8,
    role_of: fn(u8) -> (u8, u8),
) -> Option<()> {
    let header = bytes.view::<8>(bounded(bytes, offset)?)?;
    match quoted.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            quoted.source_port = header.u16(0);
            quoted.destination_port = header.u16(2);
        }
        it if it == icmp => {
            let (_, query) = role_of(header.u8(0));
            if query == 0 {
                return None;
            }
            quoted.source_port = header.u16(4);
            quoted.destination_port = u16::from(query);
        }
        _ => {}
    }
    Some(())
}

/// The packet that an ICMP error quotes.
#[inline(always)]
pub fn quoted4<B: Bytes + ?Sized>(bytes: &B, error: &Packet<u32>) -> Option<Quoted<u32>> {
    let start = error.transport + 8;
    let header = bytes.view::<20>(bounded(bytes, start)?)?;
    let length = ((header.u8(0) & 15) as usize) << 2;
    if header.u8(0) >> 4 != 4 || length < 20 || header.u16(6) & 0x1fff != 0 {
        return None;
    }
    let mut quoted = Quoted {
        source: header.u32(12),
        destination: header.u32(16),
        source_port: 0,
        destination_port: 0,
        protocol: header.u8(9),
    };
    quoted_ports(bytes, &mut quoted, start + length, protocol::ICMP, icmp4_role)?;
    Some(quoted)
}

/// The packet that an ICMPv6 error quotes.
#[inline(always)]
pub fn quoted6<B: Bytes + ?Sized>(bytes: &B, error: &Packet<Address6>) -> Option<Quoted<Address6>> {
    let start = error.transport + 8;
    let header = bytes.view::<40>(bounded(bytes, start)?)?;
    if header.u8(0) >> 4 != 6 {
        return None;
    }
    let mut quoted = Quoted {
        source: [header.u64(8), header.u64(16)],
        destination: [header.u64(24), header.u64(32)],
        source_port: 0,
        destination_port: 0,
        protocol: header.u8(6),
    };
    let mut offset = start + 40;
    if is_extension(quoted.protocol) {
        let chain = walk(bytes, quoted.protocol, offset).ok()?;
        // A later fragment shows no ports.
        if chain.piece & !MORE_FRAGMENTS != 0 || is_extension(chain.next) {
            return None;
        }
        (quoted.protocol, offset) = (chain.next, chain.offset);
    }
    quoted_ports(bytes, &mut quoted, offset, protocol::ICMP6, icmp6_role)?;
    Some(quoted)
}
