//! Transport headers: ports, ICMP types, and the packet's role for a flow.

use super::bytes::{Bytes, View, bounded};
use super::fields::{Malformed, Packet, role};
use super::number::protocol;

/// Reads ports, ICMP type and role. `room`: the payload's length by the IP header, in bytes.
#[inline(always)]
pub(super) fn transport<B: Bytes + ?Sized, A>(
    bytes: &B,
    packet: &mut Packet<A>,
    room: usize,
) -> Result<(), Malformed> {
    let offset = || bounded(bytes, packet.transport).ok_or(Malformed);
    let head = bytes.view::<8>(offset()?);
    match packet.protocol {
        protocol::TCP => {
            let header = bytes.view::<20>(offset()?).ok_or(Malformed)?;
            let length = ((header.u8(12) >> 4) as usize) << 2;
            if room < 20 || length < 20 || length > room {
                return Err(Malformed);
            }
            ports(packet, &header);
            // The sign of a difference: the verifier would follow both ways of a comparison.
            packet.has_data = (length.wrapping_sub(room) >> 31) & 1 != 0;
            const FIN: u8 = 0x01;
            const SYN: u8 = 0x02;
            const RST: u8 = 0x04;
            const ACK: u8 = 0x10;
            let flags = header.u8(13);
            let opens = flags & (SYN | ACK) == SYN;
            let accepts = (flags & SYN) * (role::ACCEPTS / SYN);
            let ends = ((flags & FIN) * role::ENDS) | ((flags & RST) * (role::RESETS / RST));
            packet.role = if opens { role::BEGINS } else { role::ANSWERS | accepts | ends };
        }
        protocol::UDP => {
            let header = head.ok_or(Malformed)?;
            let length = header.u16(4);
            // 0 is a jumbogram's (RFC 2675).
            if room < 8 || (length != 0 && length < 8) {
                return Err(Malformed);
            }
            ports(packet, &header);
            packet.role = role::BEGINS | role::ANSWERS;
        }
        protocol::SCTP => {
            let header = bytes.view::<12>(offset()?).ok_or(Malformed)?;
            if room < 12 {
                return Err(Malformed);
            }
            ports(packet, &header);
            packet.role = role::BEGINS | role::ANSWERS;
        }
        protocol::ICMP if size_of::<A>() == 4 => {
            icmp(packet, head.ok_or(Malformed)?, room, icmp4_role)?;
        }
        protocol::ICMP6 if size_of::<A>() == 16 => {
            icmp(packet, head.ok_or(Malformed)?, room, icmp6_role)?;
        }
        _ => packet.role = role::BEGINS | role::ANSWERS,
    }
    Ok(())
}

#[inline(always)]
fn ports<A, const N: usize>(packet: &mut Packet<A>, header: &View<'_, N>) {
    packet.source_port = header.u16(0);
    packet.destination_port = header.u16(2);
}

#[inline(always)]
fn icmp<A>(
    packet: &mut Packet<A>,
    header: View<'_, 8>,
    room: usize,
    role_of: fn(u8) -> (u8, u8),
) -> Result<(), Malformed> {
    if room < 8 {
        return Err(Malformed);
    }
    packet.icmp_type = header.u8(0);
    packet.icmp_code = header.u8(1);
    let (role, query) = role_of(packet.icmp_type);
    packet.role = role;
    if query != 0 {
        packet.source_port = header.u16(4);
        packet.destination_port = u16::from(query);
    }
    Ok(())
}

/// The role of an ICMP type, and the type of its query, or 0 (RFC 792, RFC 950).
#[inline(always)]
pub(super) const fn icmp4_role(kind: u8) -> (u8, u8) {
    match kind {
        8 | 13 | 15 | 17 => (role::BEGINS, kind),
        0 => (role::ANSWERS, 8),
        14 | 16 | 18 => (role::ANSWERS, kind - 1),
        3 | 11 | 12 => (role::ERROR, 0),
        _ => (0, 0),
    }
}

/// The role of an ICMPv6 type, and the type of its query, or 0 (RFC 4443).
#[inline(always)]
pub(super) const fn icmp6_role(kind: u8) -> (u8, u8) {
    match kind {
        128 => (role::BEGINS, kind),
        129 => (role::ANSWERS, 128),
        1..=4 => (role::ERROR, 0),
        _ => (0, 0),
    }
}
