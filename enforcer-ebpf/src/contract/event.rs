//! Drop events: what an operator needs to know about a dropped packet.

use bytemuck::{Pod, Zeroable};

use crate::packet::Address6;

/// The most events of one endpoint from one CPU in one window; further drops are only counted.
pub const EVENTS_PER_ENDPOINT: u32 = 64;

/// Those of them that an endpoint has for itself: a flood of drops elsewhere leaves others their first ones
/// (semantics R9).
pub const EVENTS_ASSURED: u32 = 4;

/// The most events from one CPU in one window beyond those, of all endpoints together.
pub const EVENTS_PER_CPU: u32 = 64;

/// A dropped packet.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct Event {
    /// Source address as numbers; an IPv4 address is in `::ffff:a.b.c.d` form.
    pub source: Address6,
    /// Destination address, likewise.
    pub destination: Address6,
    /// The real sender's address, likewise, if the source is known to stand for another (semantics
    /// N3); else zero.
    pub sender: Address6,
    /// The endpoint that dropped it.
    pub endpoint: u32,
    /// Host-side interface index.
    pub ifindex: u32,
    /// The packet's length in bytes, the link-layer header included.
    pub length: u32,
    /// Source port, ICMP identifier, or 0.
    pub source_port: u16,
    /// Destination port, or ICMP type (high byte) and code (low byte), or 0.
    pub destination_port: u16,
    /// IP protocol number; 0 if unknown.
    pub protocol: u8,
    /// A [`crate::contract::verdict::Direction`] as a number.
    pub direction: u8,
    /// A [`crate::contract::verdict::Reason`] as a number.
    pub reason: u8,
    /// IP version: 4 or 6; 0 for other frames.
    pub version: u8,
    /// The number that a reset needs (RFC 9293, section 3.5.2): of a TCP SYN the sequence number, of other
    /// segments the acknowledgement number; else 0.
    pub tcp_number: u32,
    /// The packet's [`crate::packet::role`]; 0 for other frames.
    pub role: u64,
}

/// An endpoint's budget of events on one CPU, so that a flood of drops costs no more than counting.
/// Nobody's ([`super::counters::NOBODY`]) is what all endpoints share.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct Budget {
    /// The time window (in coarse clock units) that `left` belongs to.
    pub window: u64,
    /// Events left in it.
    pub left: u32,
    /// Events of the endpoint not sent since the programs were loaded: budget spent or ring full.
    pub lost: u32,
}
