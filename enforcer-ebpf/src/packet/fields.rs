//! The fields of a packet that policy and flow state need.

/// An IPv6 address as two numbers: the first eight bytes and the last eight bytes.
pub type Address6 = [u64; 2];

/// A header that is truncated or contradicts itself (semantics P1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// The roles that a packet can have for a flow.
pub mod role {
    /// It may be the first packet of a flow.
    pub const BEGINS: u8 = 1 << 0;
    /// It may answer a flow that the other end initiated.
    pub const ANSWERS: u8 = 1 << 1;
    /// It accepts a connection: a TCP SYN with ACK.
    pub const ACCEPTS: u8 = 1 << 2;
    /// It is an ICMP error that quotes a packet.
    pub const ERROR: u8 = 1 << 3;
    /// It is a later fragment, without ports.
    pub const FRAGMENT: u8 = 1 << 4;
    /// It is the first of several fragments.
    pub const FIRST_FRAGMENT: u8 = 1 << 5;
    /// It ends its sender's half of a TCP connection (FIN).
    pub const ENDS: u8 = 1 << 6;
    /// It resets a TCP connection (RST).
    pub const RESETS: u8 = 1 << 7;

    /// Whether it can only be a first packet: a TCP SYN without ACK, an ICMP query.
    #[inline(always)]
    #[must_use]
    pub const fn opens(role: u8) -> bool {
        role & (BEGINS | ANSWERS) == BEGINS
    }
}

/// The fields of a packet. `A` is `u32` or [`Address6`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<A> {
    /// Source address as a number.
    pub source: A,
    /// Destination address as a number.
    pub destination: A,
    /// The offset of the transport header, in bytes from the frame's start.
    pub transport: usize,
    /// Source port; for ICMP the identifier that queries and their answers share, else 0.
    pub source_port: u16,
    /// Destination port; for ICMP the kind of query that its request and its answer share, else 0.
    pub destination_port: u16,
    /// The identification that the fragments of a packet share; meaningless for whole packets.
    pub identification: u32,
    /// The protocol that IP carries.
    pub protocol: u8,
    /// The bits of [`role`].
    pub role: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// ICMP type; 0 for others.
    pub icmp_type: u8,
    /// ICMP code; 0 for others.
    pub icmp_code: u8,
    /// Whether it is a TCP segment with data.
    pub has_data: bool,
}
