//! UDP datagrams in packets of one piece without options: their headers have a fixed length.

use super::bytes::Bytes;
use super::fields::{Address6, Packet, role};
use super::number::protocol;

/// The packet of an Ethernet frame that is a whole IPv4 packet without options, and a UDP datagram of at least 12
/// bytes of data: what [`super::ipv4`] returns for it. `None`: it may be any other one. The caller knows the ether
/// type.
#[inline(always)]
pub fn datagram4<B: Bytes + ?Sized>(bytes: &B) -> Option<Packet<u32>> {
    let view = bytes.view::<54>(0)?;
    if view.u8(14) != 0x45 || view.u16(20) & 0x3fff != 0 || view.u8(23) != protocol::UDP {
        return None;
    }
    if !is_whole(view.u16(16), 28, view.u16(38)) {
        return None;
    }
    Some(Packet {
        source: view.u32(26),
        destination: view.u32(30),
        transport: 34,
        source_port: view.u16(34),
        destination_port: view.u16(36),
        identification: u32::from(view.u16(18)),
        protocol: protocol::UDP,
        role: role::BEGINS | role::ANSWERS,
        hop_limit: view.u8(22),
        icmp_type: 0,
        icmp_code: 0,
        has_data: false,
    })
}

/// The same for an IPv6 packet without extension headers: what [`super::ipv6`] returns for it.
#[inline(always)]
pub fn datagram6<B: Bytes + ?Sized>(bytes: &B) -> Option<Packet<Address6>> {
    let view = bytes.view::<74>(0)?;
    if view.u8(14) >> 4 != 6 || view.u8(20) != protocol::UDP {
        return None;
    }
    if !is_whole(view.u16(18), 8, view.u16(58)) {
        return None;
    }
    Some(Packet {
        source: [view.u64(22), view.u64(30)],
        destination: [view.u64(38), view.u64(46)],
        transport: 54,
        source_port: view.u16(54),
        destination_port: view.u16(56),
        identification: 0,
        protocol: protocol::UDP,
        role: role::BEGINS | role::ANSWERS,
        hop_limit: view.u8(21),
        icmp_type: 0,
        icmp_code: 0,
        has_data: false,
    })
}

/// Whether the lengths of IP and UDP have room for the headers. 0: the length is elsewhere.
#[inline(always)]
const fn is_whole(ip: u16, headers: u16, udp: u16) -> bool {
    (ip == 0 || ip >= headers) && (udp == 0 || udp >= 8)
}
