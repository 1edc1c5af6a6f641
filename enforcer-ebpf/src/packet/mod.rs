//! The packet parser: Ethernet with VLAN tags, ARP, IPv4 with options, IPv6 with extension headers, and
//! the first bytes of the payload (semantics P1, P2, P6).
//!
//! The parser never guesses: a header that is truncated or contradicts itself is [`Malformed`].
//! It runs in the kernel, where the verifier proves every access, and on the host, in tests.
//!
//! What belongs here: turning bytes into numbers. What does not: any verdict on them.

mod arp;
mod bytes;
mod datagram;
mod extensions;
mod fields;
mod ip;
mod link;
mod number;
mod quoted;
mod segment;
mod transport;

pub use arp::{ARP_LENGTH, Arp, arp};
pub use bytes::{Bytes, View};
pub use datagram::{datagram4, datagram6};
pub use fields::{Address6, Malformed, Packet, role};
pub use ip::{Fixed, fixed4, fixed6, ipv4, ipv6};
pub use link::{
    LinkMessage, bare, ethernet, has_link_type, is_discovery, is_hidden_discovery, is_link_local,
    is_multicast, is_router_message, link_message,
};
pub use number::{ethertype, protocol};
pub use quoted::{Quoted, quoted4, quoted6};
pub use segment::{segment4, segment6};
