//! What policy can tell of a packet beyond its addresses.

use super::Protocol;

/// What a packet carries above IP, as far as policy can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Traffic {
    /// A protocol with ports, towards this port of the receiver.
    Port(Protocol, u16),
    /// Any other protocol (ICMP, IGMP, ESP, GRE…).
    Portless,
}
