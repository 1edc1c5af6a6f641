//! Flow entries: who began a connection, so that its replies pass (semantics A3).

use bytemuck::{Pod, Zeroable};

use crate::count::Direction;
use crate::table::Address6;

/// The parts of a flow key that both families share.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
pub struct FlowTail {
    /// The pod's port, or the ICMP identifier.
    pub local_port: u16,
    /// The other end's port; 0 for ICMP.
    pub remote_port: u16,
    /// The endpoint's id.
    pub endpoint: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
}

/// An IPv4 flow, from the pod's point of view.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
pub struct Flow4 {
    /// The pod's address.
    pub local: u32,
    /// The other end's address.
    pub remote: u32,
    /// Ports, endpoint, protocol, origin.
    pub tail: FlowTail,
}

/// An IPv6 flow, from the pod's point of view.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
pub struct Flow6 {
    /// The pod's address.
    pub local: Address6,
    /// The other end's address.
    pub remote: Address6,
    /// Ports, endpoint, protocol, origin.
    pub tail: FlowTail,
}

/// What is kept of a flow. It has one entry, whoever began it: a packet, whichever way it goes,
/// learns all there is to know by one look-up. Read and written as one word.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct FlowState {
    /// When a packet of it was last seen, in buckets of the coarse clock.
    pub seen: u32,
    /// Who began it: a [`Direction`] as a number ([`Direction::Egress`]: the pod).
    pub begun: u32,
}

impl FlowState {
    /// Seen now.
    #[inline(always)]
    #[must_use]
    pub const fn new(now: u32, begun: Direction) -> Self {
        Self { seen: now, begun: begun as u32 }
    }

    /// Whether the side that sends in this direction began it.
    #[inline(always)]
    #[must_use]
    pub const fn is_begun(self, direction: Direction) -> bool {
        self.begun == direction as u32
    }
}
