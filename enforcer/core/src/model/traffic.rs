//! The part of a packet beyond its addresses that policy distinguishes.

use super::policy::Protocol;

/// The payload of a packet, as far as policy distinguishes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Traffic {
    /// A protocol with ports, towards this port of the receiver.
    Port(Protocol, u16),
    /// Any other protocol (ICMP, IGMP, ESP, GRE…).
    Portless,
}
