//! IPv4 and IPv6 headers, fragments included (semantics P1, P2).

use super::bytes::{Bytes, bounded};
use super::extensions::{MORE_FRAGMENTS, extensions, is_extension};
use super::fields::{Address6, Malformed, Packet, role};
use super::number::protocol;
use super::transport::transport;

/// The room of a payload whose length no header tells: more than any packet has.
const BOUNDLESS: usize = i32::MAX as usize;

/// Reads an IPv4 packet (RFC 791) whose header begins at `start`.
///
/// # Errors
/// A header is truncated or contradicts itself.
#[inline(always)]
pub fn ipv4<B: Bytes + ?Sized>(bytes: &B, start: usize) -> Result<Packet<u32>, Malformed> {
    // Bounded here and used once: see `bounded`.
    let header = bytes.view::<20>(bounded(bytes, start).ok_or(Malformed)?).ok_or(Malformed)?;
    let length = ((header.u8(0) & 15) as usize) << 2;
    let total = header.u16(2) as usize;
    // A total of 0 is what segments beyond 64 KiB carry inside the kernel.
    if header.u8(0) >> 4 != 4 || length < 20 || (total != 0 && total < length) {
        return Err(Malformed);
    }
    let fragment = header.u16(6) & 0x3fff;
    let mut packet = Packet {
        source: header.u32(12),
        destination: header.u32(16),
        transport: start + length,
        source_port: 0,
        destination_port: 0,
        identification: u32::from(header.u16(4)),
        protocol: header.u8(9),
        role: 0,
        hop_limit: header.u8(8),
        icmp_type: 0,
        icmp_code: 0,
        has_data: false,
    };
    if fragment & 0x1fff != 0 {
        packet.role = role::FRAGMENT;
        return whole_headers(packet, fragment & 0x1fff);
    }
    let room = if total == 0 { BOUNDLESS } else { total - length };
    transport(bytes, &mut packet, room)?;
    packet.role |= first_fragment(fragment >> 13);
    Ok(packet)
}

/// Reads an IPv6 packet (RFC 8200) whose header begins at `start`.
///
/// # Errors
/// A header is truncated or contradicts itself, or there are more than 8 extension headers.
#[inline(always)]
pub fn ipv6<B: Bytes + ?Sized>(bytes: &B, start: usize) -> Result<Packet<Address6>, Malformed> {
    let header = bytes.view::<40>(bounded(bytes, start).ok_or(Malformed)?).ok_or(Malformed)?;
    if header.u8(0) >> 4 != 6 {
        return Err(Malformed);
    }
    let payload = header.u16(4) as usize;
    let mut packet = Packet {
        source: [header.u64(8), header.u64(16)],
        destination: [header.u64(24), header.u64(32)],
        transport: start + 40,
        source_port: 0,
        destination_port: 0,
        identification: 0,
        protocol: header.u8(6),
        role: 0,
        hop_limit: header.u8(7),
        icmp_type: 0,
        icmp_code: 0,
        has_data: false,
    };
    let mut piece = 0;
    if is_extension(packet.protocol) {
        piece = extensions(bytes, &mut packet)?;
        if piece & !MORE_FRAGMENTS != 0 {
            packet.role = role::FRAGMENT;
            return whole_headers(packet, piece >> 3);
        }
    }
    // A payload of 0 is a jumbogram's, or a segment beyond 64 KiB inside the kernel.
    let end = start + 40 + payload;
    if payload != 0 && end < packet.transport {
        return Err(Malformed);
    }
    let room = if payload == 0 { BOUNDLESS } else { end - packet.transport };
    transport(bytes, &mut packet, room)?;
    packet.role |= first_fragment(piece);
    Ok(packet)
}

/// The fixed part of an IP header, which can be read, whatever follows it (semantics P1, P4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed<A> {
    /// Source address as a number.
    pub source: A,
    /// Destination address as a number.
    pub destination: A,
    /// TTL or hop limit.
    pub hop_limit: u8,
}

/// Reads the fixed part of an IPv4 header; `None` if it is truncated, or none.
#[inline(always)]
pub fn fixed4<B: Bytes + ?Sized>(bytes: &B, start: usize) -> Option<Fixed<u32>> {
    let header = bytes.view::<20>(bounded(bytes, start)?)?;
    let (source, destination) = (header.u32(12), header.u32(16));
    (header.u8(0) >> 4 == 4).then_some(Fixed { source, destination, hop_limit: header.u8(8) })
}

/// Reads the fixed IPv6 header; `None` if it is truncated, or none.
#[inline(always)]
pub fn fixed6<B: Bytes + ?Sized>(bytes: &B, start: usize) -> Option<Fixed<Address6>> {
    let header = bytes.view::<40>(bounded(bytes, start)?)?;
    let source = [header.u64(8), header.u64(16)];
    let destination = [header.u64(24), header.u64(32)];
    (header.u8(0) >> 4 == 6).then_some(Fixed { source, destination, hop_limit: header.u8(7) })
}

/// The role of a packet with the flag for more fragments as its lowest bit. Arithmetic, because
/// the verifier would follow both branches of a decision to the program's end.
#[inline(always)]
fn first_fragment(flag: u16) -> u8 {
    (flag & MORE_FRAGMENTS) as u8 * role::FIRST_FRAGMENT
}

/// Rejects a later fragment that would overwrite the flags of the TCP header that the first one
/// must contain (RFC 1858, RFC 3128). `offset`: in units of 8 bytes.
#[inline(always)]
fn whole_headers<A>(packet: Packet<A>, offset: u16) -> Result<Packet<A>, Malformed> {
    if packet.protocol == protocol::TCP && offset == 1 { Err(Malformed) } else { Ok(packet) }
}
