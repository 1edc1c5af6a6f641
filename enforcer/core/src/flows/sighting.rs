//! What a look at the flow tables shows.

use std::net::IpAddr;

use enforcer_ebpf::contract::verdict::Direction;

/// The flows of a pod with one other end, port and initiator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The pod's endpoint id.
    pub endpoint: u32,
    /// The pod's address.
    pub local: IpAddr,
    /// The other end's.
    pub remote: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// The responder's port; 0 for protocols without ports.
    pub port: u16,
    /// [`Direction::Egress`]: the pod is the initiator.
    pub initiator: Direction,
    /// Flows that the last look did not see.
    pub new: u64,
    /// Flows that are established.
    pub open: u64,
    /// Whether a responder has answered.
    pub answered: bool,
    /// The seconds since the last packet.
    pub seconds_ago: u64,
}
