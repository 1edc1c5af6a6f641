//! The tables of the benchmark's rotator (`rotate.rs`): a program that changes the packet of a test
//! run each time before the program under test sees it.

use bytemuck::{Pod, Zeroable};

/// The most packets of a rotation. A power of two.
pub const PACKETS: u32 = 1 << 20;

/// Name of the array of the packets' ends ([`Ends`]).
pub const ENDS: &str = "ENDS";
/// Name of the array with the [`Rotation`] as its element.
pub const ROTATION: &str = "ROTATION";
/// Name of the table with the program under test.
pub const UNDER_TEST: &str = "UNDER_TEST";

/// The two ends of a packet, in network byte order.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct Ends {
    /// Source and destination: 8 bytes of IPv4, or 32 bytes of IPv6.
    pub addresses: [u64; 4],
    /// Source port and destination port.
    pub ports: [u16; 2],
    /// Zero.
    pub padding: u32,
}

/// How the packets follow each other.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct Rotation {
    /// The next packet.
    pub next: u32,
    /// The number of packets, at most [`PACKETS`].
    pub count: u32,
    /// `skb->mark` of each packet.
    pub mark: u32,
    /// The low half of `skb->cb[2]`: see the programs' `INDEX_IN_CB`.
    pub index: u32,
    /// Added to the source port of each packet in each further round, so that each begins a flow.
    pub port_step: u16,
    /// The sum of these.
    pub ports_added: u16,
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: `bytemuck::Pod`: plain data without padding.
    #[expect(unsafe_code, reason = "aya has a Pod trait of its own")]
    unsafe impl aya::Pod for super::Ends {}
    // SAFETY: as above.
    #[expect(unsafe_code, reason = "aya has a Pod trait of its own")]
    unsafe impl aya::Pod for super::Rotation {}
}
