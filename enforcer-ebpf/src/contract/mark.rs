//! What one program passes to the next about a packet, in 15 bits of `skb->mark`.
//!
//! Address translation happens between the hooks: where the packet leaves the node or reaches a
//! pod, its addresses may have changed. The mark stays and names the sender (semantics N1, N3).
//!
//! ```text
//! 14  13 12  11…0
//!  0  state  endpoint id of the pod of this node that sent it; 0: unknown
//!  1  low bits of a client's number in CLIENTS: it came from outside; 0: unknown
//! ```
//! Every packet that enters the node through a hook has a mark other than 0 from then on, whatever
//! could be parsed of it: 0 means that the node itself sent the packet (semantics A2), or that
//! another program cleared the mark. The other bits of a client's number are in `skb->tc_index`, which
//! the kernel copies along with the mark wherever it makes a new packet of one in transit.

use crate::contract::endpoint::MAX_ID;

/// Set in the marks of packets from outside.
const OUTSIDE: u32 = 1 << 14;
/// The lowest bit of the state of a pod's packet.
const STATE: u32 = 12;

/// The bits of a mark that hold a part of a client's number.
const PART: u32 = OUTSIDE - 1;
/// The number of these bits.
pub const PART_BITS: u32 = PART.count_ones();

/// What from_pod left to the hook where the packet's destination is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Deferred {
    /// Nothing.
    Nothing = 0,
    /// The sender's egress policy: the packet was sent to a Service or to the node (semantics N1).
    Egress = 1,
    /// The sender's ingress policy on the packets that this replies to: the client was hidden
    /// behind an address of the node (semantics N3, C2).
    Reply = 2,
    /// Whatever it was, the mark is lost. No packet carries it.
    Lost = 3,
}

/// The 15 bits, as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Mark(pub u32);

impl Mark {
    /// A packet from the pod with this endpoint id.
    #[inline(always)]
    #[must_use]
    pub const fn pod(id: u32, deferred: Deferred) -> Self {
        Self(((deferred as u32) << STATE) | (id & MAX_ID))
    }

    /// A packet from the client outside with this number. The rest of the number is
    /// [`Self::index`].
    #[inline(always)]
    #[must_use]
    pub const fn outside(number: u32) -> Self {
        Self(OUTSIDE | (number & PART))
    }

    /// The bits of a client's number that a mark has no room for: `skb->tc_index`.
    #[inline(always)]
    #[must_use]
    pub const fn index(number: u32) -> u32 {
        number >> PART_BITS
    }

    /// A packet that entered through a hook, whose sender is unknown.
    pub const UNKNOWN: Self = Self::outside(0);

    /// Whether no hook has seen the packet, or its mark is lost.
    #[inline(always)]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The endpoint id of the pod that sent it; 0 if it is unknown.
    #[inline(always)]
    #[must_use]
    pub const fn sender(self) -> u32 {
        if self.is_outside() { 0 } else { self.0 & MAX_ID }
    }

    /// Whether it came from outside.
    #[inline(always)]
    #[must_use]
    pub const fn is_outside(self) -> bool {
        self.0 & OUTSIDE != 0
    }

    /// The number of a client outside, given `skb->tc_index`; 0 if the client is unknown.
    #[inline(always)]
    #[must_use]
    pub const fn client(self, index: u32) -> u32 {
        match self.0 & PART {
            0 => 0,
            _ if !self.is_outside() => 0,
            part => (index << PART_BITS) | part,
        }
    }

    /// What is still to be decided.
    #[inline(always)]
    #[must_use]
    pub const fn deferred(self) -> Deferred {
        if self.is_outside() {
            return Deferred::Nothing;
        }
        match self.0 >> STATE {
            0 => Deferred::Nothing,
            1 => Deferred::Egress,
            2 => Deferred::Reply,
            _ => Deferred::Lost,
        }
    }
}

const _: () = assert!(MAX_ID == (1 << STATE) - 1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::client::NUMBER;

    #[test]
    fn the_parts_of_a_mark_are_read_back() {
        for deferred in [Deferred::Nothing, Deferred::Egress, Deferred::Reply, Deferred::Lost] {
            for id in [1, 77, MAX_ID] {
                let mark = Mark::pod(id, deferred);
                assert_eq!((mark.sender(), mark.deferred()), (id, deferred));
                assert!(!mark.is_outside() && mark.0 < 1 << 15);
            }
        }
        for number in [1, PART, PART + 2, (1 << NUMBER) - 1] {
            let mark = Mark::outside(number);
            assert_eq!(mark.client(Mark::index(number)), number);
            assert_eq!((mark.sender(), mark.deferred()), (0, Deferred::Nothing));
            assert!(mark.is_outside() && mark.0 < 1 << 15 && Mark::index(number) < 1 << 16);
        }
    }

    #[test]
    fn an_empty_mark_defers_nothing() {
        assert_eq!((Mark(0).sender(), Mark(0).deferred()), (0, Deferred::Nothing));
        assert!(Mark(0).is_empty());
    }

    #[test]
    fn what_entered_through_a_hook_has_a_mark() {
        assert!(!Mark::UNKNOWN.is_empty() && Mark::UNKNOWN.is_outside());
        assert_eq!((Mark::UNKNOWN.client(77), Mark::UNKNOWN.sender()), (0, 0));
        assert_eq!(Mark::pod(5, Deferred::Nothing).client(77), 0, "a pod is no client");
    }
}
