//! What the programs tell each other of a packet in 15 bits of `skb->mark`.
//!
//! Address translation happens between the hooks: where the packet leaves the node or reaches a
//! pod, its addresses may be others. The mark stays, and says who sent it (semantics N1, N3).
//!
//! ```text
//! 14  13 12  11…0
//!  0  state  endpoint id: a pod of this node sent it; 0: nobody knows
//!  1  sequence number of a client in CLIENTS: it came in from outside
//! ```

use crate::endpoint::MAX_ID;

/// Set in the marks of packets from outside.
const OUTSIDE: u32 = 1 << 14;
/// Where the state of a pod's packet begins.
const STATE: u32 = 12;

/// The bits of a sequence number.
pub const SEQUENCE: u32 = OUTSIDE - 1;

/// What is still to be judged of a pod's packet where its destination is known for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Pending {
    /// Nothing.
    Nothing = 0,
    /// Whether the sender's egress policy allows it: it was sent to a Service or to the node
    /// (semantics N1).
    Egress = 1,
    /// Whether the sender's ingress policy still allows what this replies to: the client was hidden
    /// behind an address of the node (semantics N3, C2).
    Reply = 2,
}

/// The 15 bits, as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Mark(pub u32);

impl Mark {
    /// A packet from the pod with this endpoint id.
    #[inline(always)]
    #[must_use]
    pub const fn pod(id: u32, pending: Pending) -> Self {
        Self(((pending as u32) << STATE) | (id & MAX_ID))
    }

    /// A packet from a client outside.
    #[inline(always)]
    #[must_use]
    pub const fn outside(sequence: u32) -> Self {
        Self(OUTSIDE | (sequence & SEQUENCE))
    }

    /// The endpoint id of the pod that sent it; 0 if none is known to have.
    #[inline(always)]
    #[must_use]
    pub const fn sender(self) -> u32 {
        if self.is_outside() { 0 } else { self.0 & MAX_ID }
    }

    /// Whether it came in from outside.
    #[inline(always)]
    #[must_use]
    pub const fn is_outside(self) -> bool {
        self.0 & OUTSIDE != 0
    }

    /// The sequence number of a client outside.
    #[inline(always)]
    #[must_use]
    pub const fn sequence(self) -> u32 {
        self.0 & SEQUENCE
    }

    /// What is still to be judged.
    #[inline(always)]
    #[must_use]
    pub const fn pending(self) -> Pending {
        if self.is_outside() {
            return Pending::Nothing;
        }
        match self.0 >> STATE {
            0 => Pending::Nothing,
            2 => Pending::Reply,
            _ => Pending::Egress,
        }
    }
}

const _: () = assert!(MAX_ID == (1 << STATE) - 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        for pending in [Pending::Nothing, Pending::Egress, Pending::Reply] {
            for id in [1, 77, MAX_ID] {
                let mark = Mark::pod(id, pending);
                assert_eq!((mark.sender(), mark.pending()), (id, pending));
                assert!(!mark.is_outside() && mark.0 < 1 << 15);
            }
        }
        for sequence in [0, 1, SEQUENCE] {
            let mark = Mark::outside(sequence);
            assert_eq!((mark.sequence(), mark.sender()), (sequence, 0));
            assert_eq!(mark.pending(), Pending::Nothing);
            assert!(mark.is_outside() && mark.0 < 1 << 15);
        }
    }

    #[test]
    fn a_mark_of_nobody_asks_for_nothing() {
        assert_eq!((Mark(0).sender(), Mark(0).pending()), (0, Pending::Nothing));
    }

    #[test]
    fn a_state_that_nobody_writes_is_judged() {
        assert_eq!(Mark((3 << STATE) | 5).pending(), Pending::Egress);
    }
}
