//! Readable drop events.

use std::net::{IpAddr, Ipv6Addr};

use enforcer_ebpf::contract::event::Event;
use enforcer_ebpf::contract::lookup::port_protocol;
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use enforcer_ebpf::packet::Address6;
use serde::{Deserialize, Serialize};

use super::attribution::Attribution;

/// The IP protocol numbers (IANA) of ICMP.
const ICMP: u8 = 1;
const ICMP6: u8 = 58;

/// The bytes from the ring buffer are too few for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a drop event has {expected} bytes, not {found}", expected = size_of::<Event>())]
pub struct TruncatedEvent {
    /// The number of bytes.
    pub found: usize,
}

/// Reads an event. Further bytes are ignored: the ring buffer may pad.
///
/// # Errors
/// There are too few bytes.
pub fn read_event(bytes: &[u8]) -> Result<Event, TruncatedEvent> {
    let event = bytes.get(..size_of::<Event>()).ok_or(TruncatedEvent { found: bytes.len() })?;
    Ok(bytemuck::pod_read_unaligned(event))
}

/// Names the pods of drop events, as `namespace/name`.
pub trait Names {
    /// The pod with an address.
    fn pod_at(&self, address: &IpAddr) -> Option<String>;

    /// The pod of this node with an endpoint id.
    fn pod_of(&self, endpoint: u32) -> Option<String>;
}

/// One end of a dropped packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Its address.
    pub address: IpAddr,
    /// The pod that has the address, as `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pod: Option<String>,
    /// The port, for protocols that have ports and where the port could be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub port: Option<u16>,
}

/// A dropped packet, for people and scripts. `Display` gives one line (`drop_line.rs`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropRecord {
    /// The source; absent for frames that are not IP.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<End>,
    /// The real sender, if the source is an address of the node or of a Service that hides another
    /// address (semantics N3), or is none of the sending pod's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sender: Option<End>,
    /// The destination; absent for frames that are not IP.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub destination: Option<End>,
    /// The protocol's name, or `protocol N`.
    pub protocol: String,
    /// ICMP type and code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub icmp: Option<(u8, u8)>,
    /// The pod whose policy dropped it, as `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pod: Option<String>,
    /// The host side of that pod's interface.
    pub ifindex: u32,
    /// `ingress` or `egress`, from that pod's point of view.
    pub direction: String,
    /// A name of [`Reason`], or `reason N`.
    pub reason: String,
    /// The packet's length in bytes, the link-layer header included.
    pub length: u32,
    /// The workloads, and the policies behind the drop.
    #[serde(flatten)]
    pub attribution: Attribution,
}

impl DropRecord {
    /// The record of an event.
    #[must_use]
    pub fn new(event: &Event, names: &impl Names) -> Self {
        let (source, destination) = ends(event, names);
        let reason = Reason::from_number(event.reason.into());
        let [kind, code] = event.destination_port.to_be_bytes();
        Self {
            source,
            sender: sender(event, names),
            destination,
            protocol: protocol(event),
            icmp: is_icmp(event).then_some((kind, code)),
            pod: names.pod_of(event.endpoint),
            ifindex: event.ifindex,
            direction: direction(event.direction),
            reason: reason.map_or(format!("reason {}", event.reason), |it| it.name().to_owned()),
            length: event.length,
            attribution: Attribution::default(),
        }
    }

    /// Whether both are packets of one attempt to connect: of the same ends, ports included.
    #[must_use]
    pub fn is_same_attempt(&self, other: &Self) -> bool {
        let ends = |it: &Self| {
            let end = |end: &Option<End>| end.as_ref().map(|it| (it.address, it.port));
            (end(&it.source), end(&it.sender), end(&it.destination))
        };
        ends(self) == ends(other)
            && (self.ifindex, &self.pod, self.icmp) == (other.ifindex, &other.pod, other.icmp)
            && (&self.protocol, &self.direction) == (&other.protocol, &other.direction)
            && self.reason == other.reason
    }
}

fn ends(event: &Event, names: &impl Names) -> (Option<End>, Option<End>) {
    // A fragment or a malformed packet may have no ports to read.
    let ported = port_protocol(event.protocol).is_some();
    let readable = ported && (event.source_port, event.destination_port) != (0, 0);
    let end = |address: &Address6, port: u16| {
        end(address, event.version, readable.then_some(port), names)
    };
    (end(&event.source, event.source_port), end(&event.destination, event.destination_port))
}

fn sender(event: &Event, names: &impl Names) -> Option<End> {
    let known = event.sender != [0, 0];
    known.then(|| end(&event.sender, event.version, None, names)).flatten()
}

fn end(bits: &Address6, version: u8, port: Option<u16>, names: &impl Names) -> Option<End> {
    let address = address(bits, version)?;
    let pod = names.pod_at(&address);
    Some(End { address, pod, port })
}

/// An address of an [`Event`]; `None` for a frame that is not IP.
#[must_use]
pub fn address(address: &Address6, version: u8) -> Option<IpAddr> {
    let [high, low] = *address;
    let address = Ipv6Addr::from_bits((u128::from(high) << 64) | u128::from(low));
    match version {
        4 => address.to_ipv4_mapped().map(IpAddr::V4),
        6 => Some(IpAddr::V6(address)),
        _ => None,
    }
}

fn is_icmp(event: &Event) -> bool {
    matches!((event.version, event.protocol), (4, ICMP) | (6, ICMP6))
}

fn direction(number: u8) -> String {
    let known = Direction::ALL.into_iter().find(|it| *it as u32 == u32::from(number));
    known.map_or_else(|| format!("direction {number}"), |it| it.name().to_owned())
}

fn protocol(event: &Event) -> String {
    protocol_name(event.version, event.protocol)
}

/// The protocol's name, from IANA's list of protocol numbers. `version`: 4, 6, or 0 for no IP.
#[must_use]
pub fn protocol_name(version: u8, number: u8) -> String {
    if version == 0 {
        return "non-IP frame".to_owned();
    }
    let name = match number {
        ICMP => "ICMP",
        2 => "IGMP",
        4 => "IPIP",
        6 => "TCP",
        17 => "UDP",
        41 => "IPv6-in-IP",
        47 => "GRE",
        50 => "ESP",
        51 => "AH",
        ICMP6 => "ICMPv6",
        132 => "SCTP",
        number => return format!("protocol {number}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests;
