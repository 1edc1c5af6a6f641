//! Flow entries: who began a connection, so that its replies pass (semantics A3), and how far it
//! has come, so that it is forgotten in time and not before.

use bytemuck::{Pod, Zeroable};

use crate::count::Direction;
use crate::packet::{protocol, role};
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

/// How far a flow has come: bits of [`FlowState::marks`].
pub mod marks {
    /// The end that did not begin it has answered.
    pub const ANSWERED: u16 = 1 << 0;
    /// The end that began it has gone on after the answer: TCP's handshake is complete; others
    /// were still talking in a later bucket of the clock.
    pub const CONFIRMED: u16 = 1 << 1;
    /// The pod will send no more (FIN).
    pub const POD_ENDED: u16 = 1 << 2;
    /// So the other end has said (FIN or RST): true unless the pod talks on. The pod's kernel
    /// knows which sequence numbers are to be believed; here nobody does.
    pub const PEER_ENDED: u16 = 1 << 3;
    /// The pod has reset it (RST).
    pub const RESET: u16 = 1 << 4;
    /// The lowest of the three bits with its [`super::Kind`].
    pub const KIND_SHIFT: u32 = 5;
    /// The entry is not used any more: the flow is in the table of established ones.
    pub const MOVED: u16 = 1 << 8;
    /// It should be in the table of established flows, which had no room.
    pub const REFUSED: u16 = 1 << 9;
    /// Both directions were seen, and more than once.
    pub const ESTABLISHED: u16 = ANSWERED | CONFIRMED;
    /// Somebody has ended it.
    pub const ENDED: u16 = POD_ENDED | PEER_ENDED | RESET;
}

/// Combinations of marks that lifetimes differ by: the low byte of [`FlowState::marks`].
pub const LIFETIMES: usize = 256;

/// Which rules a flow lives by.
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

/// What is kept of a flow. It has one entry, whoever began it: a packet, whichever way it goes,
/// learns all there is to know by one look-up.
///
/// Read as one word. Its parts are written by themselves, and `begun` only by whole new entries:
/// the kernel may give an entry's memory to another flow between looking it up and writing to it,
/// and that other flow must not be taken for begun by the wrong end.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct FlowState {
    /// When a packet of it was last seen, in buckets of the coarse clock.
    pub seen: u32,
    /// The bits of [`marks`].
    pub marks: u16,
    /// Who began it: a [`Direction`] as a number ([`Direction::Egress`]: the pod).
    pub begun: u16,
}

impl FlowState {
    /// A flow whose first packet is seen now.
    #[inline(always)]
    #[must_use]
    pub const fn new(now: u32, begun: Direction, number: u8) -> Self {
        let marks = (Kind::of(number) as u16) << marks::KIND_SHIFT;
        Self { seen: now, marks, begun: begun as u16 }
    }

    /// Whether the side that sends in this direction began it.
    #[inline(always)]
    #[must_use]
    pub const fn is_begun(self, direction: Direction) -> bool {
        self.begun == direction as u16
    }

    /// Whether it lives on for `lifetime` buckets after its last packet.
    #[inline(always)]
    #[must_use]
    pub const fn is_alive(self, now: u32, lifetime: u32) -> bool {
        elapsed(self.seen, now) <= lifetime
    }

    /// Whether it is two-way traffic that nobody has ended: what no flood may displace.
    #[inline(always)]
    #[must_use]
    pub const fn is_established(self) -> bool {
        self.marks & (marks::ESTABLISHED | marks::ENDED) == marks::ESTABLISHED
    }

    /// Whether nothing but retransmissions can follow.
    #[inline(always)]
    #[must_use]
    pub const fn is_over(self) -> bool {
        const BOTH: u16 = marks::POD_ENDED | marks::PEER_ENDED;
        self.marks & marks::RESET != 0 || self.marks & BOTH == BOTH
    }

    /// Whether an opening packet in this direction is the first of another flow with the same
    /// ports. While a connection is established it is not: anybody could end it so.
    #[inline(always)]
    #[must_use]
    pub const fn is_followed(self, direction: Direction) -> bool {
        let established = self.marks & marks::ESTABLISHED == marks::ESTABLISHED;
        let from_pod = matches!(direction, Direction::Egress);
        !established || self.is_over() || (from_pod && self.marks & marks::ENDED != 0)
    }

    /// What it becomes by a packet that was allowed; `role`: bits of [`role`].
    #[inline(always)]
    #[must_use]
    pub const fn after(self, direction: Direction, role: u8, now: u32) -> Self {
        let mut marks = self.marks;
        let resets = role & role::RESETS != 0;
        let ends = role & (role::ENDS | role::RESETS) != 0;
        let later = self.seen != now;
        if !resets && self.goes_on(direction, role, later) {
            marks |= marks::CONFIRMED;
        }
        if !resets && !self.is_begun(direction) {
            marks |= marks::ANSWERED;
        }
        match direction {
            Direction::Ingress if ends => marks |= marks::PEER_ENDED,
            Direction::Ingress => {}
            Direction::Egress if resets => marks |= marks::RESET,
            Direction::Egress if ends => marks |= marks::POD_ENDED,
            // In the same bucket it may be the acknowledgement of the other end's FIN.
            Direction::Egress if later => marks &= !marks::PEER_ENDED,
            Direction::Egress => {}
        }
        Self { seen: now, marks, begun: self.begun }
    }

    /// Whether a packet other than a reset shows that the flow is more than a question and its
    /// answer. A ping never is: each of its requests begins anew.
    #[inline(always)]
    const fn goes_on(self, direction: Direction, role: u8, later: bool) -> bool {
        const KIND: u16 = 7 << marks::KIND_SHIFT;
        const TCP: u16 = (Kind::Tcp as u16) << marks::KIND_SHIFT;
        const ICMP: u16 = (Kind::Icmp as u16) << marks::KIND_SHIFT;
        match self.marks & KIND {
            TCP => self.is_begun(direction) && role & role::OPENS == 0,
            ICMP => false,
            _ => later && self.marks & marks::ANSWERED != 0,
        }
    }
}

/// Buckets of the clock since `seen`; 0 if another CPU saw the next one before this.
#[inline(always)]
#[must_use]
pub const fn elapsed(seen: u32, now: u32) -> u32 {
    let buckets = now.wrapping_sub(seen);
    if buckets > u32::MAX / 2 { 0 } else { buckets }
}

/// The stages of a flow's life, each with a lifetime of its own: for how long it is remembered
/// while no packet of it is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// TCP, opened and not yet answered.
    TcpSynSent,
    /// TCP, answered; the handshake is not complete.
    TcpSynRecv,
    /// TCP, first seen after its handshake; only one end has spoken since.
    TcpUnacknowledged,
    /// TCP, both ends have spoken.
    TcpEstablished,
    /// TCP, one end has ended its direction.
    TcpFinWait,
    /// TCP, both have.
    TcpTimeWait,
    /// TCP, reset by the pod, or refused.
    TcpClose,
    /// UDP, not answered.
    Udp,
    /// UDP, answered.
    UdpStream,
    /// Queries of ICMP and ICMPv6.
    Icmp,
    /// SCTP.
    Sctp,
    /// Any other protocol.
    Other,
}

impl Stage {
    /// Every stage, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::TcpSynSent,
        Self::TcpSynRecv,
        Self::TcpUnacknowledged,
        Self::TcpEstablished,
        Self::TcpFinWait,
        Self::TcpTimeWait,
        Self::TcpClose,
        Self::Udp,
        Self::UdpStream,
        Self::Icmp,
        Self::Sctp,
        Self::Other,
    ];

    /// The stage of a flow with these [`marks`].
    #[must_use]
    pub const fn of(marks: u16) -> Self {
        match (marks >> marks::KIND_SHIFT) & 7 {
            0 => Self::of_tcp(marks),
            1 if marks & marks::ANSWERED == 0 => Self::Udp,
            1 => Self::UdpStream,
            2 => Self::Icmp,
            3 => Self::Sctp,
            _ => Self::Other,
        }
    }

    const fn of_tcp(marks: u16) -> Self {
        let state = FlowState { seen: 0, marks, begun: 0 };
        let established = marks & marks::ESTABLISHED;
        if marks & marks::RESET != 0 {
            Self::TcpClose
        } else if state.is_over() {
            Self::TcpTimeWait
        } else if marks & marks::ENDED != 0 {
            if established == marks::ESTABLISHED { Self::TcpFinWait } else { Self::TcpClose }
        } else {
            match established {
                0 => Self::TcpSynSent,
                marks::ANSWERED => Self::TcpSynRecv,
                marks::CONFIRMED => Self::TcpUnacknowledged,
                _ => Self::TcpEstablished,
            }
        }
    }

    /// The name on the command line: that of the sysctl `nf_conntrack_…_timeout…`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TcpSynSent => "tcp-syn-sent",
            Self::TcpSynRecv => "tcp-syn-recv",
            Self::TcpUnacknowledged => "tcp-unacknowledged",
            Self::TcpEstablished => "tcp-established",
            Self::TcpFinWait => "tcp-fin-wait",
            Self::TcpTimeWait => "tcp-time-wait",
            Self::TcpClose => "tcp-close",
            Self::Udp => "udp",
            Self::UdpStream => "udp-stream",
            Self::Icmp => "icmp",
            Self::Sctp => "sctp",
            Self::Other => "other",
        }
    }
}

/// What the programs count of a family's flows, on each CPU.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct FlowCounts {
    /// Entries made in the table of flows that are not established.
    pub entered: u64,
    /// Flows that were established, and found no room in the table for such.
    pub refused: u64,
}

#[cfg(test)]
#[path = "stage/tests.rs"]
mod tests;
