//! Clients outside, as they were seen before the node translated their addresses (semantics N3).

use bytemuck::{Pod, Zeroable};

use crate::table::Address6;

/// How many packets from outside a CPU can have on their way through the node at once. A network
/// device hands over at most 64 in a row. A power of two.
pub const CLIENTS: usize = 512;

/// Who sent a packet from outside.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct Client {
    /// Source address as numbers; an IPv4 address is in `::ffff:a.b.c.d` form.
    pub address: Address6,
    /// The sequence number that the packet's mark carries.
    pub sequence: u32,
    /// Source port, or what else [`crate::packet::Packet::source_port`] is.
    pub port: u16,
    /// Zero.
    pub padding: u16,
}

/// A CPU's latest packets from outside. A packet is done with on the CPU where it came in.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
pub struct Clients {
    /// The next sequence number; its low bits say where in the ring.
    pub next: u64,
    /// The ring.
    pub ring: [Client; CLIENTS],
}

/// Where a sequence number's client is in the ring.
#[inline(always)]
#[must_use]
pub const fn place(sequence: u32) -> usize {
    sequence as usize & (CLIENTS - 1)
}
