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

/// The ether type of a packet without a link-layer header, by its IP version, and its offset.
///
/// # Errors
/// It is shorter than an IPv4 header, or neither IPv4 nor IPv6.
#[inline(always)]
pub fn bare<B: Bytes + ?Sized>(bytes: &B) -> Result<(u16, usize), Malformed> {
    // The shortest header: the verifier does not accept the compiler's check of a single byte.
    match bytes.view::<20>(0).ok_or(Malformed)?.u8(0) >> 4 {
        4 => Ok((ethertype::IPV4, 0)),
        6 => Ok((ethertype::IPV6, 0)),
        _ => Err(Malformed),
    }
}

/// A packet's part in keeping its link working (semantics A4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkMessage {
    /// None: it is judged like any other packet.
    No,
    /// A router or neighbour solicitation, or a listener report.
    Host,
    /// A neighbour advertisement, which claims its target.
    Advertisement,
    /// A router advertisement, a redirect or a listener query: only routers send these.
    Router,
}

/// The types of ICMPv6 (RFC 4443, RFC 4861, RFC 2710, RFC 3810).
mod kind {
    pub(super) const LISTENER_QUERY: u8 = 130;
    pub(super) const LISTENER_REPORT: u8 = 131;
    pub(super) const LISTENER_DONE: u8 = 132;
    pub(super) const ROUTER_SOLICITATION: u8 = 133;
    pub(super) const ROUTER_ADVERTISEMENT: u8 = 134;
    pub(super) const NEIGHBOUR_SOLICITATION: u8 = 135;
    pub(super) const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    pub(super) const REDIRECT: u8 = 137;
    pub(super) const LISTENER_REPORT_2: u8 = 143;
}

/// Options of neighbour discovery (RFC 4861, RFC 7527), each of 8 bytes.
const SOURCE_ADDRESS: u8 = 1;
const TARGET_ADDRESS: u8 = 2;
const NONCE: u8 = 14;

/// ff02::1:ff00:0/104, without its last three bytes.
const SOLICITED_NODE: Address6 = [0xff02 << 48, 0x0000_0001_ff00_0000];
/// All routers of the link.
const ALL_ROUTERS: Address6 = [0xff02 << 48, 2];
/// All routers that understand version 2 of multicast listener discovery.
const ALL_LISTENER_ROUTERS: Address6 = [0xff02 << 48, 0x16];
/// The most records of a listener report.
const RECORDS: usize = 16;

/// Whether an ICMPv6 type is one that only routers send.
#[inline(always)]
#[must_use]
pub const fn is_router_message(packet: &Packet<Address6>) -> bool {
    packet.protocol == protocol::ICMP6
        && matches!(
            packet.icmp_type,
            kind::ROUTER_ADVERTISEMENT | kind::REDIRECT | kind::LISTENER_QUERY
        )
}

/// Whether an ICMPv6 type is a link message's (neighbour and router discovery, listeners).
#[inline(always)]
#[must_use]
pub const fn has_link_type(packet: &Packet<Address6>) -> bool {
    packet.protocol == protocol::ICMP6
        && matches!(
            packet.icmp_type,
            kind::LISTENER_QUERY..=kind::REDIRECT | kind::LISTENER_REPORT_2
        )
}

/// Whether receivers on the link honour an IPv6 packet as neighbour or router discovery, whatever its options are.
#[inline(always)]
#[must_use]
pub const fn is_discovery<A>(packet: &Packet<A>) -> bool {
    packet.protocol == protocol::ICMP6
        && matches!(packet.icmp_type, kind::ROUTER_SOLICITATION..=kind::REDIRECT)
        && packet.hop_limit == u8::MAX
}

/// Whether a packet is neighbour or router discovery behind extension headers. Receivers ignore such
/// messages (RFC 6980), unless a node on the way removes the headers: connection tracking removes the
/// fragment header of a whole packet.
#[inline(always)]
#[must_use]
pub const fn is_hidden_discovery(packet: &Packet<Address6>, network: usize) -> bool {
    packet.protocol == protocol::ICMP6
        && matches!(packet.icmp_type, kind::ROUTER_SOLICITATION..=kind::REDIRECT)
        && packet.transport != network + 40
}

/// The part of an ICMPv6 packet in keeping its link working. A message that its receiver would
/// ignore is none, nor is one that is longer than its known options. Also returns the target of an
/// advertisement; of others, the source. (Always an address: the compiler reads it before it knows
/// the kind, and the verifier before Linux 6.3 accepts no read of what was never written.) `network`:
/// where the IPv6 header begins; `length`: the frame's length.
#[inline(always)]
#[must_use]
pub fn link_message<B: Bytes + ?Sized>(
    bytes: &B,
    packet: &Packet<Address6>,
    network: usize,
    length: usize,
) -> (LinkMessage, Address6) {
    // Receivers ignore these messages if they are fragmented (RFC 6980).
    let piece = packet.role & (role::FRAGMENT | role::FIRST_FRAGMENT) != 0;
    if packet.protocol != protocol::ICMP6 || piece || packet.icmp_code != 0 {
        return (LinkMessage::No, packet.source);
    }
    let extensions = packet.transport.wrapping_sub(network + 40);
    let size = length.wrapping_sub(packet.transport);
    match packet.hop_limit {
        255 if extensions == 0 => discovery(bytes, packet, size),
        // A hop-by-hop header with the router alert.
        1 if extensions <= 8 => (listener(bytes, packet, size), packet.source),
        _ => (LinkMessage::No, packet.source),
    }
}

/// Neighbour and router discovery (RFC 4861).
#[inline(always)]
fn discovery<B: Bytes + ?Sized>(
    bytes: &B,
    packet: &Packet<Address6>,
    size: usize,
) -> (LinkMessage, Address6) {
    let mut target = packet.source;
    let message = discovered(bytes, packet, size, &mut target);
    (message, target)
}

#[inline(always)]
fn discovered<B: Bytes + ?Sized>(
    bytes: &B,
    packet: &Packet<Address6>,
    size: usize,
    target: &mut Address6,
) -> LinkMessage {
    let unspecified = packet.source == [0, 0];
    match packet.icmp_type {
        kind::ROUTER_ADVERTISEMENT | kind::REDIRECT if is_link_local(&packet.source) => {
            LinkMessage::Router
        }
        kind::ROUTER_SOLICITATION if packet.destination == ALL_ROUTERS => {
            if has_options(bytes, packet.transport + 8, size.wrapping_sub(8), SOURCE_ADDRESS) {
                return LinkMessage::Host;
            }
            LinkMessage::No
        }
        kind::NEIGHBOUR_SOLICITATION if !unspecified || is_solicited_node(&packet.destination) => {
            if has_options(bytes, packet.transport + 24, size.wrapping_sub(24), SOURCE_ADDRESS) {
                return LinkMessage::Host;
            }
            LinkMessage::No
        }
        kind::NEIGHBOUR_ADVERTISEMENT if !unspecified => {
            let Some(start) = bounded(bytes, packet.transport + 8) else { return LinkMessage::No };
            let Some(claimed) = bytes.view::<16>(start) else { return LinkMessage::No };
            *target = [claimed.u64(0), claimed.u64(8)];
            if has_options(bytes, packet.transport + 24, size.wrapping_sub(24), TARGET_ADDRESS) {
                return LinkMessage::Advertisement;
            }
            LinkMessage::No
        }
        _ => LinkMessage::No,
    }
}

/// Multicast listener discovery (RFC 2710, RFC 3810).
#[inline(always)]
fn listener<B: Bytes + ?Sized>(bytes: &B, packet: &Packet<Address6>, size: usize) -> LinkMessage {
    if !is_link_local(&packet.source) && packet.source != [0, 0] {
        return LinkMessage::No;
    }
    match packet.icmp_type {
        kind::LISTENER_QUERY => LinkMessage::Router,
        kind::LISTENER_REPORT | kind::LISTENER_DONE
            if size == 24 && is_multicast(&packet.destination) =>
        {
            LinkMessage::Host
        }
        kind::LISTENER_REPORT_2 if packet.destination == ALL_LISTENER_ROUTERS => {
            let Some(start) = bounded(bytes, packet.transport) else { return LinkMessage::No };
            let Some(header) = bytes.view::<8>(start) else { return LinkMessage::No };
            let records = usize::from(header.u16(6));
            // Records without sources: those of any-source groups, which hosts join.
            if records <= RECORDS && size == 8 + records * 20 {
                return LinkMessage::Host;
            }
            LinkMessage::No
        }
        _ => LinkMessage::No,
    }
}

/// Whether `room` bytes from `offset` on are at most two options of 8 bytes: a link-layer address of
/// kind `address`, and a nonce.
#[inline(always)]
fn has_options<B: Bytes + ?Sized>(bytes: &B, offset: usize, room: usize, address: u8) -> bool {
    if room != 0 && room != 8 && room != 16 {
        return false;
    }
    let known = |at: usize| {
        let Some(start) = bounded(bytes, offset + at) else { return false };
        let Some(option) = bytes.view::<3>(start) else { return false };
        let kind = option.u8(0);
        // A group's address would bring what is meant for one interface to many.
        (kind == address && option.u8(2) & 1 == 0 || kind == NONCE) && option.u8(1) == 1
    };
    (room < 8 || known(0)) && (room < 16 || known(8))
}

#[inline(always)]
const fn is_solicited_node(address: &Address6) -> bool {
    address[0] == SOLICITED_NODE[0] && address[1] & !0xff_ffff == SOLICITED_NODE[1]
}

/// Whether an address is in ff00::/8.
#[inline(always)]
#[must_use]
pub const fn is_multicast(address: &Address6) -> bool {
    address[0] >> 56 == 0xff
}

/// Whether an address is in fe80::/10.
#[inline(always)]
#[must_use]
pub const fn is_link_local(address: &Address6) -> bool {
    (address[0] >> 54) == (0xfe80 >> 6)
}
