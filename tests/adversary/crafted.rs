//! Frames as the grammar composes them: by names and numbers, not by bytes, so that a kept case is
//! readable, independent of addresses, and can be made simpler field by field.

use serde::{Deserialize, Serialize};

/// Frames that are sent one after the other.
pub(crate) type Attack = Vec<Crafted>;

/// A party of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Role {
    /// A hostile pod that may neither send nor receive.
    Evil,
    /// A hostile pod that may reach one port of [`Role::Ally`].
    Narrow,
    /// A hostile pod that no policy isolates.
    Rogue,
    /// A pod that no policy isolates.
    Friend,
    /// A pod with few permissions in both directions.
    Victim,
    /// A pod that narrow and friend may reach.
    Ally,
    /// The outside host.
    Outside,
}

/// An address, by its meaning; its family is the frame's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Address {
    /// The sender's own.
    Own,
    Pod(Role),
    /// A pod's link-local address; in IPv4 its usual one.
    LinkLocal(Role),
    /// The node's at its uplink.
    Node,
    /// The pods' gateway.
    Gateway,
    /// The node's at its VXLAN device.
    Tunnel,
    /// A Service's cluster address.
    Cluster(Service),
    /// A Service's external address.
    External(Service),
    /// The outside client `office`, which policy knows.
    Office,
    /// An outside client that no policy knows.
    Internet,
    /// A destination behind the node's VXLAN device.
    BehindTunnel,
    /// A destination behind the node's device without Ethernet headers.
    BehindBare,
    /// An address in the pods' subnet that no pod has.
    Nobody,
    /// All hosts of the link.
    AllHosts,
    /// All routers of the link.
    AllRouters,
    /// The solicited-node group of a pod; in IPv4 all hosts.
    Solicited(Role),
    /// The broadcast address of the pods' subnet; in IPv6 all hosts.
    SubnetBroadcast,
    /// 255.255.255.255; in IPv6 all hosts.
    Broadcast,
    Unspecified,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Service {
    /// Its backend is the ally.
    Web,
    /// Its backend is the victim.
    Vault,
    /// Its backend is the friend.
    Open,
    /// Its backend is behind the node's device without Ethernet headers. It has no external address.
    Far,
}

/// A hardware address, by its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mac {
    Own,
    /// The sender's next hop.
    Router,
    Pod(Role),
    /// The group of the destination address.
    Group,
    Broadcast,
    /// The frame's mark.
    Mark,
}

/// A crafted packet, in one frame or in several fragments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Crafted {
    pub by: Role,
    pub v6: bool,
    pub mac_to: Mac,
    pub mac_from: Mac,
    pub vlans: Vec<u16>,
    pub outer: Option<Outer>,
    pub source: Address,
    pub destination: Address,
    pub hops: u8,
    /// IPv4: words of options.
    pub options: u8,
    /// IPv6: extension headers (kind, length) before a fragment header.
    pub extensions: Vec<(u8, u8)>,
    /// The same, behind the fragment header.
    pub late: Vec<(u8, u8)>,
    /// Fragments in the order in which they are sent; none: the whole packet.
    pub pieces: Vec<Piece>,
    pub identification: u32,
    pub body: Body,
    /// Bytes of payload that carry the mark.
    pub length: u16,
    pub lie: Option<Lie>,
    /// Bytes to which the frame is cut.
    pub cut: Option<u16>,
    pub way: Way,
}

impl Default for Crafted {
    fn default() -> Self {
        Self {
            by: Role::Rogue,
            v6: false,
            mac_to: Mac::Router,
            mac_from: Mac::Own,
            vlans: Vec::new(),
            outer: None,
            source: Address::Own,
            destination: Address::Pod(Role::Victim),
            hops: 64,
            options: 0,
            extensions: Vec::new(),
            late: Vec::new(),
            pieces: Vec::new(),
            identification: 1,
            body: Body::Udp(5_000, 5_001),
            length: 64,
            lie: None,
            cut: None,
            way: Way::Plain,
        }
    }
}

/// A fragment: the bytes `start..start + length` of the payload, in units of 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    pub start: u16,
    pub length: u16,
    pub more: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Body {
    Udp(u16, u16),
    /// Ports and flags.
    Tcp(u16, u16, u8),
    /// Whether it is the reply.
    Echo(bool),
    /// Type and code, and the packet that it quotes.
    Error(u8, u8, Quote),
    Link(Link, Tail),
    /// The operation, and whose address is the sender's and the target's.
    Arp(u8, Address, Address, Tail),
    /// A frame with this ether type.
    Other(u16),
    /// A packet of this protocol.
    Protocol(u8),
}

/// Messages of neighbour discovery and of multicast listener discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Link {
    Solicitation(Address),
    Advertisement(Address),
    RouterSolicitation,
    RouterAdvertisement,
    Redirect(Address),
    Report,
    Report2,
    Query,
}

/// What follows the fixed part of a link message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Tail {
    /// One option with a hardware address: the mark. In ARP, nothing.
    Exact,
    /// One option with a group's hardware address. In ARP, nothing.
    Group,
    /// Marked bytes in options of the right form.
    Options,
    /// Marked bytes.
    Marked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quote {
    pub source: Address,
    pub destination: Address,
    pub tcp: bool,
    pub ports: (u16, u16),
}

/// A tunnel's headers around the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outer {
    pub kind: Tunnel,
    pub v6: bool,
    pub source: Address,
    pub destination: Address,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Tunnel {
    Vxlan,
    /// On the port that Linux had before IANA's.
    OldVxlan,
    Geneve,
    /// VXLAN-GPE: without an Ethernet header inside.
    Gpe,
    /// IPIP or SIT, by the inner packet.
    Ip,
    Gre,
}

/// A header field with a false value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Lie {
    Version(u8),
    /// IPv4: words of the header. IPv6: no effect.
    Words(u8),
    /// The length in the IP header.
    Total(u16),
    /// The protocol, or the first next header.
    Protocol(u8),
    /// The length in the UDP header, or the TCP header's words.
    Transport(u16),
    Checksum,
}

/// How the frame gets into the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Way {
    Plain,
    /// Only this many bytes are in the linear part. The frame is filled up to more than a memory
    /// page, or the kernel would copy all of it there.
    Paged(u16),
    /// A packet that is to be cut into segments of this size.
    Segments(u16),
    /// From a raw socket, in two steps: only the IP header and this many bytes behind it are in the
    /// linear part. The kernel writes the IP header and finds the next hop. TCP and UDP only.
    InPages(u8),
}

impl Crafted {
    /// What is special about it, for the count of kinds that arrive without an agent.
    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        let mut kinds = vec![match &self.body {
            Body::Udp(..) => "UDP",
            Body::Tcp(..) => "TCP",
            Body::Echo(..) => "echo",
            Body::Error(..) => "ICMP error",
            Body::Link(..) => "link message",
            Body::Arp(..) => "ARP",
            Body::Other(_) => "other ether type",
            Body::Protocol(_) => "other protocol",
        }];
        let special = [
            (!self.vlans.is_empty(), "VLAN"),
            (!self.v6 && self.options > 0, "options"),
            (self.v6 && !(self.extensions.is_empty() && self.late.is_empty()), "extensions"),
            (!self.pieces.is_empty(), "fragments"),
            (self.source != Address::Own, "foreign source"),
            (self.lie.is_some() || self.cut.is_some(), "malformed"),
            (matches!(self.way, Way::Paged(_)), "paged"),
            (matches!(self.way, Way::Segments(_)), "segments"),
            (self.in_pages().is_some(), "transport header in pages"),
            (self.mac_from != Mac::Own && !matches!(self.body, Body::Arp(..)), "foreign MAC"),
            (matches!(self.destination, Address::Cluster(_)), "cluster address"),
            (matches!(self.destination, Address::External(_)), "external address"),
            (self.is_to_group(), "group"),
            (self.destination == Address::BehindTunnel, "to VXLAN"),
            (self.destination == Address::BehindBare, "to a device without Ethernet"),
            (self.outer.is_some_and(|it| it.kind == Tunnel::Vxlan), "VXLAN"),
            (self.outer.is_some_and(|it| it.kind == Tunnel::Gpe), "VXLAN-GPE"),
            (self.by == Role::Outside, "from outside"),
        ];
        kinds.extend(special.iter().filter(|(is, _)| *is).map(|(_, name)| *name));
        kinds
    }

    /// The bytes behind the IP header in the linear part, if a raw socket sends the packet.
    pub(crate) fn in_pages(&self) -> Option<u8> {
        match (self.way, &self.body) {
            // The kernel replaces an unspecified source.
            (Way::InPages(linear), Body::Udp(..) | Body::Tcp(..))
                if self.source != Address::Unspecified =>
            {
                Some(linear)
            }
            _ => None,
        }
    }

    /// Whether its destination is a group of hosts.
    pub(crate) fn is_to_group(&self) -> bool {
        matches!(
            self.destination,
            Address::AllHosts
                | Address::AllRouters
                | Address::Solicited(_)
                | Address::SubnetBroadcast
                | Address::Broadcast
        )
    }
}
