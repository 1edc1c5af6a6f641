//! Endpoints: pods' interfaces, as the programs know them.

use bytemuck::{Pod, Zeroable};

use crate::contract::table::INTERFACE_SLOTS;
use crate::packet::Address6;

/// The largest endpoint id: ids must fit the mark ([`crate::contract::mark`]).
pub const MAX_ID: u32 = (1 << 12) - 1;

/// The record of interfaces that have no slot because there are more than fit (semantics R9).
pub const CLOSED_RECORD: u32 = 0;

/// Its id, which no interface with a slot has.
pub const CLOSED_ID: u32 = MAX_ID;

/// A pod's interface. A record never changes once an interface slot names it: the agent writes
/// another record and flips the slot, so a packet sees all of the old or all of the new
/// (semantics C1).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct Endpoint {
    /// The pod's IPv6 address as numbers; zero if it has none.
    pub address6: Address6,
    /// The pod's IPv4 address as a number; zero if it has none.
    pub address4: u32,
    /// Identifies the endpoint in counters, flows and marks: 1 to [`MAX_ID`].
    pub id: u32,
    /// First verdict cell of the ingress row; meaningful with [`flags::INGRESS_ISOLATED`].
    pub ingress_row: u32,
    /// First verdict cell of the egress row; meaningful with [`flags::EGRESS_ISOLATED`].
    pub egress_row: u32,
    /// The bits of [`flags`].
    pub flags: u32,
    /// Host-side interface index, for readers of the table.
    pub ifindex: u32,
}

/// Bits of [`Endpoint::flags`].
pub mod flags {
    /// A policy selects the pod for ingress (semantics S4).
    pub const INGRESS_ISOLATED: u32 = 1 << 0;
    /// A policy selects the pod for egress (semantics S4).
    pub const EGRESS_ISOLATED: u32 = 1 << 1;
    /// Ingress policy could not be represented: new connections are dropped (semantics R9).
    pub const INGRESS_CLOSED: u32 = 1 << 2;
    /// Egress policy could not be represented: new connections are dropped (semantics R9).
    pub const EGRESS_CLOSED: u32 = 1 << 3;
    /// Packets from the pod must carry one of its addresses (semantics P4).
    pub const CHECK_SOURCE: u32 = 1 << 4;
    /// The interface's pod is unknown (semantics C6).
    pub const NO_POD: u32 = 1 << 6;
    /// The pod has addresses beyond the two of the record.
    pub const EXTRA_ADDRESSES: u32 = 1 << 5;
}

impl Endpoint {
    /// The endpoint of interfaces that have no slot: only link messages and the node's own traffic
    /// pass.
    pub const CLOSED: Self = Self {
        address6: [0; 2],
        address4: 0,
        id: CLOSED_ID,
        ingress_row: 0,
        egress_row: 0,
        flags: flags::INGRESS_ISOLATED
            | flags::EGRESS_ISOLATED
            | flags::INGRESS_CLOSED
            | flags::EGRESS_CLOSED
            | flags::NO_POD,
        ifindex: 0,
    };

    /// Zero, but only the record says so: an index that is added to it depends on the record. A CPU
    /// that reads memory out of order (arm64) then can't have read an old class of an address for a
    /// new row of the endpoint (semantics C1).
    #[inline(always)]
    #[must_use]
    pub const fn order(&self) -> Order {
        Order(self.flags >> 31)
    }
}

/// A zero that orders what depends on it after the read that it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order(u32);

impl Order {
    /// Of no record: for readers that see no writes meanwhile.
    pub const NONE: Self = Self(0);

    /// The zero of an order that was passed to another function.
    #[inline(always)]
    #[must_use]
    pub const fn known(zero: u32) -> Self {
        Self(zero)
    }

    /// The zero.
    #[inline(always)]
    #[must_use]
    pub const fn zero(self) -> u32 {
        self.0
    }
}

/// A key of [`crate::contract::table::EXTRA_ADDRESSES`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct ExtraAddress {
    /// The address as numbers; an IPv4 address is in `::ffff:a.b.c.d` form.
    pub address: Address6,
    /// The endpoint it belongs to.
    pub id: u32,
    /// Zero.
    pub padding: u32,
}

/// A word of the interface table or of the table of senders: the endpoint record of an interface or
/// id. Zero: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Slot(pub u64);

impl Slot {
    /// The slot that assigns the endpoint record `record` to interface `ifindex` (not zero).
    #[must_use]
    pub const fn new(ifindex: u32, record: u32) -> Self {
        Self(((ifindex as u64) << 32) | record as u64)
    }

    /// The interface index.
    #[inline(always)]
    #[must_use]
    pub const fn ifindex(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The index of the endpoint record.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the low half is what is meant")]
    pub const fn record(self) -> u32 {
        self.0 as u32
    }
}

/// The two slots where an interface may be. The agent keeps each interface in one of them, and
/// moves others to their second slot to make room.
#[inline(always)]
#[must_use]
pub const fn slots_of(ifindex: u32) -> (usize, usize) {
    let mask = INTERFACE_SLOTS - 1;
    let mixed = ifindex.wrapping_mul(0x9e37_79b1) >> 16;
    (ifindex as usize & mask, (mixed as usize) & mask)
}
