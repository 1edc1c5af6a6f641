//! TCP segments that end nothing: most packets. Their headers have a fixed length, so that they
//! are read in one piece.

use super::bytes::{Bytes, View};
use super::fields::{Address6, Packet, role};
use super::number::protocol;

/// FIN, SYN and RST.
const TURNS: u8 = 7;
const SYN: u8 = 2;
const ACK: u8 = 16;

/// The packet of an Ethernet frame that is a whole IPv4 packet without options, and a TCP segment
/// without FIN and RST, and with SYN only if it opens a connection: what [`super::ipv4`] returns for it.
/// `None`: it may be any other one. The caller knows the ether type.
#[inline(always)]
pub fn segment4<B: Bytes + ?Sized>(bytes: &B) -> Option<Packet<u32>> {
    let view = bytes.view::<54>(0)?;
    let total = u32::from(view.u16(16));
    if view.u8(14) != 0x45 || view.u16(20) & 0x3fff != 0 || view.u8(23) != protocol::TCP {
        return None;
    }
    // A total of 0 is what segments beyond 64 KiB carry inside the kernel.
    let room = if total == 0 { u32::MAX } else { total.checked_sub(20)? };
    let (role, has_data) = kind(&view, 34, room)?;
    Some(Packet {
        source: view.u32(26),
        destination: view.u32(30),
        transport: 34,
        source_port: view.u16(34),
        destination_port: view.u16(36),
        identification: u32::from(view.u16(18)),
        protocol: protocol::TCP,
        role,
        hop_limit: view.u8(22),
        icmp_type: 0,
        icmp_code: 0,
        has_data,
    })
}

/// The same for an IPv6 packet without extension headers: what [`super::ipv6`] returns for it.
#[inline(always)]
pub fn segment6<B: Bytes + ?Sized>(bytes: &B) -> Option<Packet<Address6>> {
    let view = bytes.view::<74>(0)?;
    let payload = u32::from(view.u16(18));
    if view.u8(14) >> 4 != 6 || view.u8(20) != protocol::TCP {
        return None;
    }
    let room = if payload == 0 { u32::MAX } else { payload };
    let (role, has_data) = kind(&view, 54, room)?;
    Some(Packet {
        source: [view.u64(22), view.u64(30)],
        destination: [view.u64(38), view.u64(46)],
        transport: 54,
        source_port: view.u16(54),
        destination_port: view.u16(56),
        identification: 0,
        protocol: protocol::TCP,
        role,
        hop_limit: view.u8(21),
        icmp_type: 0,
        icmp_code: 0,
        has_data,
    })
}

/// The role of the segment whose TCP header is at offset `at`, and whether it has data. `None`: it is not one
/// of those meant, or not complete within a payload of `room` bytes.
#[inline(always)]
fn kind<const N: usize>(view: &View<'_, N>, at: usize, room: u32) -> Option<(u8, bool)> {
    let length = u32::from(view.u8(at + 12) >> 4) << 2;
    if length < 20 || length > room {
        return None;
    }
    let flags = view.u8(at + 13);
    // Last, so that the verifier follows openings once.
    if flags & TURNS == 0 {
        Some((role::ANSWERS, length < room))
    } else if flags & (TURNS | ACK) == SYN {
        Some((role::BEGINS, length < room))
    } else {
        None
    }
}
