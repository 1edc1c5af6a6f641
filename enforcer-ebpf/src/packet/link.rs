//! The link layer: Ethernet headers, and the messages that a link needs to work.

use super::bytes::{Bytes, bounded};
use super::fields::{Address6, Malformed, Packet, role};
use super::number::{ethertype, protocol};

/// The most VLAN tags in front of an IP header.
const VLAN_TAGS: usize = 2;

/// The ether type behind any VLAN tags, and the offset of its payload (semantics P6).
///
/// # Errors
/// The frame is too short, or has more than two tags.
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

/// Whether an ICMPv6 packet is one that a link needs to work (semantics A4): neighbour and
/// router discovery (RFC 4861) or multicast listener discovery (RFC 2710, RFC 3810).
#[inline(always)]
#[must_use]
pub fn is_link_message(packet: &Packet<Address6>) -> bool {
    // Receivers ignore these messages if they are fragmented (RFC 6980).
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
