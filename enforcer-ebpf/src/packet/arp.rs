//! ARP for IPv4 on Ethernet (RFC 826).

use super::bytes::{Bytes, bounded};
use super::fields::Malformed;

/// The length of an ARP message, in bytes.
pub const ARP_LENGTH: usize = 28;

/// The claims of an ARP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// The sender's IPv4 address as a number; 0 in a probe (RFC 5227).
    pub sender: u32,
    /// The target's IPv4 address as a number.
    pub target: u32,
    /// Whether the sender's hardware address is the frame's source.
    pub is_from_frame_source: bool,
}

/// Reads the ARP message that begins at `start`.
///
/// # Errors
/// The message is truncated, or neither a request nor a reply about IPv4 on Ethernet.
#[inline(always)]
pub fn arp<B: Bytes + ?Sized>(bytes: &B, start: usize) -> Result<Arp, Malformed> {
    /// Hardware type Ethernet, protocol type IPv4, and the lengths of their addresses.
    const IPV4_ON_ETHERNET: u64 = 0x0001_0800_0604;
    let message = bytes.view::<28>(bounded(bytes, start).ok_or(Malformed)?).ok_or(Malformed)?;
    let head = message.u64(0);
    let operation = head & 0xffff;
    if head >> 16 != IPV4_ON_ETHERNET || (operation != 1 && operation != 2) {
        return Err(Malformed);
    }
    let frame = bytes.view::<14>(0).ok_or(Malformed)?;
    Ok(Arp {
        sender: (u32::from(message.u16(14)) << 16) | u32::from(message.u16(16)),
        target: (u32::from(message.u16(24)) << 16) | u32::from(message.u16(26)),
        is_from_frame_source: frame.u16(6) == message.u16(8)
            && frame.u16(8) == message.u16(10)
            && frame.u16(10) == message.u16(12),
    })
}
