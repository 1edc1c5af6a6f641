//! Clients outside the node, as seen before address translation (semantics N3).

use bytemuck::{Pod, Zeroable};

use crate::packet::Address6;

/// The packets from outside that a CPU remembers. A network device hands over at most 64 in a row,
/// and most are delivered before the next 64 are read. A power of two.
pub const CLIENTS: usize = 512;

/// The sender of a packet from outside.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct Client {
    /// Source address as numbers; an IPv4 address is in `::ffff:a.b.c.d` form.
    pub address: Address6,
    /// The sequence number that the packet's mark carries.
    pub sequence: u32,
    /// Source port, or whatever [`crate::packet::Packet::source_port`] holds instead.
    pub port: u16,
    /// Zero.
    pub padding: u16,
}

/// A CPU's latest packets from outside. The look-up assumes that the packet is still on the CPU
/// where it entered. Receive packet steering, threaded NAPI and reassembly can move it to another
/// one: its client is then unknown, unless that CPU's ring has the same sequence number.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
pub struct Clients {
    /// The next sequence number; its low bits are the place in the ring.
    pub next: u64,
    /// The ring.
    pub ring: [Client; CLIENTS],
}

/// The place of a sequence number's client in the ring.
#[inline(always)]
#[must_use]
pub const fn place(sequence: u32) -> usize {
    sequence as usize & (CLIENTS - 1)
}
