//! Reading packets: Ethernet with VLAN tags, IPv4 with options, IPv6 with extension headers,
//! and the first bytes of what they carry (semantics P1, P2, P6).
//!
//! Nothing is guessed: a header that is truncated or contradicts itself is a [`Malformed`] packet.
//! Runs in the kernel, where the verifier proves every access, and on the host, in tests.

mod bytes;
mod extensions;
mod ip;
mod link;
mod quoted;
mod transport;

use crate::table::Address6;

pub use bytes::{Bytes, View};
pub use ip::{ipv4, ipv6};
pub use link::{ethernet, is_link_local, is_link_message};
pub use quoted::{Quoted, quoted4, quoted6};

/// IP protocol numbers (IANA).
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMP6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
    pub(super) const MOBILITY: u8 = 135;
    pub(super) const HIP: u8 = 139;
    pub(super) const SHIM6: u8 = 140;
}

/// Ether types (IEEE 802).
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    pub(super) const VLAN: u16 = 0x8100;
    pub(super) const SERVICE_VLAN: u16 = 0x88a8;
}

/// No header begins further into the packet than this (keeps offsets provably small).
const FARTHEST: usize = 0x4000;

/// A header that can't be read or contradicts itself (semantics P1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// What a packet can be to a flow.
pub mod role {
    /// It may be the first packet of a flow.
    pub const BEGINS: u8 = 1 << 0;
    /// It may answer a flow that the other end began.
    pub const ANSWERS: u8 = 1 << 1;
    /// It can only be a first packet: a TCP SYN without ACK.
    pub const OPENS: u8 = 1 << 2;
    /// It is an ICMP error, and quotes the packet that it is about.
    pub const ERROR: u8 = 1 << 3;
    /// It is a later fragment: no ports to be seen.
    pub const FRAGMENT: u8 = 1 << 4;
    /// It is the first of several fragments.
    pub const FIRST_FRAGMENT: u8 = 1 << 5;
    /// It ends its sender's half of a TCP connection (FIN).
    pub const ENDS: u8 = 1 << 6;
    /// It resets a TCP connection (RST).
    pub const RESETS: u8 = 1 << 7;
}

/// What policy and flows need to know of a packet. `A` is `u32` or [`Address6`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<A> {
    /// Source address as a number.
    pub source: A,
    /// Destination address as a number.
    pub destination: A,
    /// Where the transport header begins, in bytes from the frame's start.
    pub transport: usize,
    /// Source port; for ICMP the identifier that queries and their answers share, else 0.
    pub source_port: u16,
    /// Destination port; for ICMP the kind of query that its request and its answer share, else 0.
    pub destination_port: u16,
    /// What the fragments of one packet share; means nothing for whole packets.
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
}

/// An offset that isn't absurd, to be made a pointer of at once: the verifier of kernels before
/// 5.12 forgets the bounds of a number that the compiler puts on the stack. It knows those of a
/// pointer there.
#[inline(always)]
fn bounded<B: Bytes + ?Sized>(bytes: &B, offset: usize) -> Option<usize> {
    let offset = bytes.settle(offset);
    if offset > FARTHEST { None } else { Some(offset) }
}
