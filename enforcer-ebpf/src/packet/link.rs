//! The link layer: what a frame carries, and what a link can't work without.

use super::{Address6, Bytes, Malformed, Packet, bounded, ethertype, protocol, role};

/// The most VLAN tags in front of an IP header that are read.
const VLAN_TAGS: usize = 2;

/// The ether type behind any VLAN tags, and where its payload begins (semantics P6).
///
/// # Errors
/// The frame is too short, or has more tags than anybody uses.
#[inline(always)]
pub fn ethernet<B: Bytes + ?Sized>(bytes: &B) -> Result<(u16, usize), Malformed> {
    let mut kind = bytes.view::<14>(0).ok_or(Malformed)?.u16(12);
    if kind != ethertype::VLAN && kind != ethertype::SERVICE_VLAN {
        return Ok((kind, 14));
    }
    let mut offset = 14;
    for _ in 0..VLAN_TAGS {
        if kind != ethertype::VLAN && kind != ethertype::SERVICE_VLAN {
            break;
        }
        kind = bytes.view::<4>(offset).ok_or(Malformed)?.u16(2);
        offset += 4;
    }
    if kind == ethertype::VLAN || kind == ethertype::SERVICE_VLAN {
        return Err(Malformed);
    }
    Ok((kind, bounded(bytes, offset).ok_or(Malformed)?))
}

/// Whether an ICMPv6 packet is one that a link can't work without (semantics A4): neighbour and
/// router discovery (RFC 4861) or multicast listener discovery (RFC 2710, RFC 3810).
#[inline(always)]
#[must_use]
pub fn is_link_message(packet: &Packet<Address6>) -> bool {
    // Nobody fragments these, and no receiver takes them so (RFC 6980).
    let piece = packet.role & (role::FRAGMENT | role::FIRST_FRAGMENT) != 0;
    if packet.protocol != protocol::ICMP6 || piece {
        return false;
    }
    let discovery = packet.hop_limit == 255 && packet.icmp_code == 0;
    match packet.icmp_type {
        // Solicitations and neighbour advertisements.
        133 | 135 | 136 => discovery,
        // Only routers send these, and from a link-local address.
        134 | 137 => discovery && is_link_local(&packet.source),
        130..=132 | 143 => {
            packet.hop_limit == 1 && (is_link_local(&packet.source) || packet.source == [0, 0])
        }
        _ => false,
    }
}

/// Whether an address is in fe80::/10.
#[inline(always)]
#[must_use]
pub const fn is_link_local(address: &Address6) -> bool {
    (address[0] >> 54) == (0xfe80 >> 6)
}
