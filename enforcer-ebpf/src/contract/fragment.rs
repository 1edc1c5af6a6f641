//! Fragments: only the first one shows ports, so its verdict is kept for the later ones (semantics
//! P2).

use bytemuck::{Pod, Zeroable};

use crate::packet::Address6;

/// The parts of a fragment key that both families share.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
pub struct FragmentTail {
    /// The packet's identification; 16 bits of it in IPv4.
    pub identification: u32,
    /// The endpoint's id.
    pub endpoint: u16,
    /// IPv4: the protocol. IPv6: 0, since fragments of one packet may differ there (RFC 8200).
    pub protocol: u8,
    /// A [`crate::contract::verdict::Direction`] as a number.
    pub direction: u8,
}

/// The key of all fragments of an IPv4 packet, at one endpoint, in one direction.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
pub struct Fragment4 {
    /// Source address.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
    /// Identification, endpoint, protocol, direction.
    pub tail: FragmentTail,
}

/// The key of all fragments of an IPv6 packet, at one endpoint, in one direction.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
pub struct Fragment6 {
    /// Source address.
    pub source: Address6,
    /// Destination address.
    pub destination: Address6,
    /// Identification, endpoint, protocol, direction.
    pub tail: FragmentTail,
}

/// An allowed first fragment.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct FragmentState {
    /// When it was seen, in buckets of the coarse clock.
    pub seen: u32,
    /// Why it was allowed: a [`crate::contract::verdict::Reason`] as a number.
    pub reason: u32,
}
