//! Flow entries: a connection's initiator, so that its replies pass (semantics A3), and its progress,
//! which its idle timeout depends on ([`crate::contract::stage`]).

use bytemuck::{Pod, Zeroable};

use crate::contract::verdict::Direction;
use crate::packet::Address6;
use crate::packet::{protocol, role};

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
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
pub struct Flow4 {
    /// The pod's address.
    pub local: u32,
    /// The other end's address.
    pub remote: u32,
    /// Ports, endpoint, protocol.
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
    /// Ports, endpoint, protocol.
    pub tail: FlowTail,
}

/// The progress of a flow: bits of [`FlowState::flags`].
pub mod flags {
    /// The responder has answered.
    pub const ANSWERED: u16 = 1 << 0;
    /// The initiator has continued after the answer: TCP's handshake is complete; other protocols
    /// were still active in a later bucket of the clock.
    pub const CONFIRMED: u16 = 1 << 1;
    /// The pod has finished sending (FIN).
    pub const POD_ENDED: u16 = 1 << 2;
    /// The other end seems to have ended it (FIN or RST); cleared if the pod continues. Only the
    /// pod's kernel can check sequence numbers; the programs do not know them.
    pub const PEER_ENDED: u16 = 1 << 3;
    /// The pod has reset it (RST).
    pub const RESET: u16 = 1 << 4;
    /// The lowest of the three bits with its [`super::Kind`].
    pub const KIND_SHIFT: u32 = 5;
    /// The node itself sent the first packet, from an address that is not the node's: replies need
    /// no policy (semantics A3).
    pub const NODE: u16 = 1 << 10;
    /// Both directions were seen more than once.
    pub const ESTABLISHED: u16 = ANSWERED | CONFIRMED;
    /// An end has ended it.
    pub const ENDED: u16 = POD_ENDED | PEER_ENDED | RESET;
}

/// The number of combinations of flags that have an idle timeout each: the low byte of
/// [`FlowState::flags`].
pub const LIFETIMES: usize = 256;

/// The kind of protocol that a flow's stages follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// TCP.
    Tcp = 0,
    /// UDP.
    Udp = 1,
    /// Queries of ICMP and ICMPv6.
    Icmp = 2,
    /// SCTP.
    Sctp = 3,
    /// Any other protocol.
    Other = 4,
}

impl Kind {
    /// The kind of a protocol's flows.
    #[inline(always)]
    #[must_use]
    pub const fn of(number: u8) -> Self {
        match number {
            protocol::TCP => Self::Tcp,
            protocol::UDP => Self::Udp,
            protocol::ICMP | protocol::ICMP6 => Self::Icmp,
            protocol::SCTP => Self::Sctp,
            _ => Self::Other,
        }
    }
}

/// The state of a flow. Both directions share one entry, so that one look-up is enough.
///
/// It is read and written as one word. A program may write to an entry that another has just given to
/// another flow, so the parts that grant something, the initiator and [`flags::NODE`], count only as
/// the entry's check word has them ([`super::flow_table`]).
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct FlowState {
    /// When a packet of it was last seen, in buckets of the coarse clock.
    pub seen: u32,
    /// The bits of [`flags`].
    pub flags: u16,
    /// The direction of the first packet, a [`Direction`] as a number: [`Direction::Egress`] if the
    /// pod is the initiator.
    pub initiator: u16,
}

impl FlowState {
    /// The state of a flow whose first packet is seen now.
    #[inline(always)]
    #[must_use]
    pub const fn new(now: u32, initiator: Direction, number: u8) -> Self {
        let flags = (Kind::of(number) as u16) << flags::KIND_SHIFT;
        Self { seen: now, flags, initiator: initiator as u16 }
    }

    /// The same state with further [`flags`].
    #[inline(always)]
    #[must_use]
    pub const fn with(self, flags: u16) -> Self {
        Self { flags: self.flags | flags, ..self }
    }

    /// Whether the end that sends in this direction is the initiator.
    #[inline(always)]
    #[must_use]
    pub const fn is_initiator(self, direction: Direction) -> bool {
        self.initiator == direction as u16
    }

    /// Whether its last packet is at most `lifetime` buckets ago.
    #[inline(always)]
    #[must_use]
    pub const fn is_alive(self, now: u32, lifetime: u32) -> bool {
        elapsed(self.seen, now) <= lifetime
    }

    /// Whether it is two-way traffic that no end has ended: a flood must not displace it.
    #[inline(always)]
    #[must_use]
    pub const fn is_established(self) -> bool {
        self.flags & (flags::ESTABLISHED | flags::ENDED) == flags::ESTABLISHED
    }

    /// Whether nothing but retransmissions can follow.
    #[inline(always)]
    #[must_use]
    pub const fn is_over(self) -> bool {
        const BOTH: u16 = flags::POD_ENDED | flags::PEER_ENDED;
        self.flags & flags::RESET != 0 || self.flags & BOTH == BOTH
    }

    /// Whether an opening packet in this direction begins another flow with the same ports. While a
    /// connection is established it does not: a forged packet could end it so.
    #[inline(always)]
    #[must_use]
    pub const fn is_followed(self, direction: Direction) -> bool {
        let established = self.flags & flags::ESTABLISHED == flags::ESTABLISHED;
        let from_pod = matches!(direction, Direction::Egress);
        !established || self.is_over() || (from_pod && self.flags & flags::ENDED != 0)
    }

    /// The state after a packet that was allowed; `role`: bits of [`role`].
    #[inline(always)]
    #[must_use]
    pub const fn after(self, direction: Direction, role: u8, now: u32) -> Self {
        let mut flags = self.flags;
        let resets = role & role::RESETS != 0;
        let ends = role & (role::ENDS | role::RESETS) != 0;
        let later = self.seen != now;
        if !resets && self.continues(direction, role, later) {
            flags |= flags::CONFIRMED;
        }
        if !resets && !self.is_initiator(direction) {
            flags |= flags::ANSWERED;
        }
        match direction {
            Direction::Ingress if ends => flags |= flags::PEER_ENDED,
            Direction::Ingress => {}
            Direction::Egress if resets => flags |= flags::RESET,
            Direction::Egress if ends => flags |= flags::POD_ENDED,
            // In the same bucket it may be the acknowledgement of the other end's FIN.
            Direction::Egress if later => flags &= !flags::PEER_ENDED,
            Direction::Egress => {}
        }
        Self { seen: now, flags, initiator: self.initiator }
    }

    /// Whether a packet other than a reset shows that the flow is more than a question and its
    /// answer. A ping never is: each request begins another flow.
    #[inline(always)]
    const fn continues(self, direction: Direction, role: u8, later: bool) -> bool {
        const KIND: u16 = 7 << flags::KIND_SHIFT;
        const TCP: u16 = (Kind::Tcp as u16) << flags::KIND_SHIFT;
        const ICMP: u16 = (Kind::Icmp as u16) << flags::KIND_SHIFT;
        match self.flags & KIND {
            TCP if self.is_initiator(direction) => !role::opens(role),
            // The pod's kernel sends on after its SYN with ACK only if the handshake is complete.
            TCP => {
                matches!(direction, Direction::Egress)
                    && self.flags & flags::ANSWERED != 0
                    && role & role::ACCEPTS == 0
            }
            ICMP => false,
            _ => later && self.flags & flags::ANSWERED != 0,
        }
    }
}

/// Buckets of the clock since `seen`; 0 if another CPU is already in the next bucket.
#[inline(always)]
#[must_use]
pub const fn elapsed(seen: u32, now: u32) -> u32 {
    let buckets = now.wrapping_sub(seen);
    if buckets > u32::MAX / 2 { 0 } else { buckets }
}
