//! Reading the netlink messages, as far as they matter here.
//!
//! Only the few attributes that are needed are read, so that a kernel that sends something new
//! in another attribute can't hide an interface.

use std::net::IpAddr;

use netlink_packet_core::{
    DecodeError, NetlinkBuffer, NlasIterator, parse_i32, parse_ip, parse_string, parse_u16,
    parse_u32,
};

/// Length of `struct ifinfomsg`.
const LINK_HEADER: usize = 16;
/// Length of `struct ifaddrmsg`.
const ADDRESS_HEADER: usize = 8;
/// Length of `struct rtmsg`.
const ROUTE_HEADER: usize = 12;
/// Length of `struct rtnexthop`.
const NEXT_HOP: usize = 8;
/// Length of `struct rtgenmsg`, padded.
const NAMESPACE_HEADER: usize = 4;
/// `IFF_LOOPBACK` of linux/if.h.
const LOOPBACK: u32 = 1 << 3;
/// `NETNSA_NSID` of linux/net_namespace.h.
const NETNSA_NSID: u16 = 1;

/// The other end of a veth pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    /// Its index in its namespace.
    pub(super) ifindex: u32,
    /// The namespace's id; negative if it has none (it is being destroyed).
    pub(super) namespace: i32,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) ifindex: u32,
    pub(super) name: String,
    /// For veths whose other end is in another namespace.
    pub(super) peer: Option<Peer>,
    /// Whether it leads to nowhere but the node itself: the loopback interface, and bridges, whose
    /// packets leave by their ports.
    pub(super) inner: bool,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) ifindex: u32,
    pub(super) address: IpAddr,
    /// Whether its scope is global (`RT_SCOPE_UNIVERSE`).
    pub(super) global: bool,
}

/// One message of a datagram.
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) payload: &'a [u8],
}

/// Splits a datagram into its messages.
pub(super) fn messages(datagram: &[u8]) -> Result<Vec<Message<'_>>, DecodeError> {
    let mut messages = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let message = NetlinkBuffer::new_checked(rest)?;
        messages.push(Message {
            kind: message.message_type(),
            flags: message.flags(),
            sequence: message.sequence_number(),
            payload: message.payload(),
        });
        let length = usize::try_from(message.length()).unwrap_or(rest.len());
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(messages)
}

/// Reads `RTM_NEWLINK`.
pub(super) fn link(payload: &[u8]) -> Result<Link, DecodeError> {
    let ifindex = parse_u32(field(payload, 4, 4)?)?;
    let is_loopback = parse_u32(field(payload, 8, 4)?)? & LOOPBACK != 0;
    let (mut name, mut kind) = (String::new(), None);
    let (mut peer, mut namespace) = (None, None);
    for attribute in attributes(payload, LINK_HEADER)? {
        let attribute = attribute?;
        match attribute.kind() {
            libc::IFLA_IFNAME => name = parse_string(attribute.value())?,
            libc::IFLA_LINK => peer = Some(parse_u32(attribute.value())?),
            libc::IFLA_LINK_NETNSID => namespace = Some(parse_i32(attribute.value())?),
            libc::IFLA_LINKINFO => {
                kind = link_kind(attribute.value())?;
            }
            _ => {}
        }
    }
    let kind = kind.as_deref();
    let peer = peer.zip(namespace).filter(|_| kind == Some("veth"));
    let peer = peer.map(|(ifindex, namespace)| Peer { ifindex, namespace });
    Ok(Link { ifindex, name, peer, inner: is_loopback || kind == Some("bridge") })
}

fn link_kind(info: &[u8]) -> Result<Option<String>, DecodeError> {
    for attribute in NlasIterator::new(info) {
        let attribute = attribute?;
        if attribute.kind() == libc::IFLA_INFO_KIND {
            return parse_string(attribute.value()).map(Some);
        }
    }
    Ok(None)
}

/// Reads `RTM_NEWADDR`; `None` if it carries no unicast address.
pub(super) fn address(payload: &[u8]) -> Result<Option<Address>, DecodeError> {
    let ifindex = parse_u32(field(payload, 4, 4)?)?;
    let global = field(payload, 3, 1)? == [libc::RT_SCOPE_UNIVERSE];
    let (mut local, mut address) = (None, None);
    for attribute in attributes(payload, ADDRESS_HEADER)? {
        let attribute = attribute?;
        match attribute.kind() {
            // On a point-to-point link IFA_ADDRESS is the other end's address.
            libc::IFA_LOCAL => local = Some(parse_ip(attribute.value())?),
            libc::IFA_ADDRESS => address = Some(parse_ip(attribute.value())?),
            _ => {}
        }
    }
    Ok(local.or(address).map(|address| Address { ifindex, address, global }))
}

/// The interfaces that a default route of `RTM_NEWROUTE` leads to; none for other routes.
pub(super) fn default_route(payload: &[u8]) -> Result<Vec<u32>, DecodeError> {
    let mut interfaces = Vec::new();
    let unicast = field(payload, 7, 1)? == [libc::RTN_UNICAST];
    if field(payload, 1, 1)? != [0] || !unicast {
        return Ok(interfaces);
    }
    for attribute in attributes(payload, ROUTE_HEADER)? {
        let attribute = attribute?;
        match attribute.kind() {
            libc::RTA_OIF => interfaces.push(parse_u32(attribute.value())?),
            libc::RTA_MULTIPATH => {
                let mut hops = attribute.value();
                while !hops.is_empty() {
                    let length = parse_u16(field(hops, 0, 2)?)?;
                    interfaces.push(parse_u32(field(hops, 4, 4)?)?);
                    // An entry that has no length would never end.
                    let next = usize::from(length).max(NEXT_HOP).next_multiple_of(4);
                    hops = hops.get(next..).unwrap_or_default();
                }
            }
            _ => {}
        }
    }
    Ok(interfaces)
}

/// The id that `RTM_NEWNSID` or `RTM_DELNSID` is about.
pub(super) fn namespace_id(payload: &[u8]) -> Result<Option<i32>, DecodeError> {
    for attribute in attributes(payload, NAMESPACE_HEADER)? {
        let attribute = attribute?;
        if attribute.kind() == NETNSA_NSID {
            return parse_i32(attribute.value()).map(Some);
        }
    }
    Ok(None)
}

fn attributes(payload: &[u8], header: usize) -> Result<NlasIterator<&[u8]>, DecodeError> {
    payload.get(header..).map(NlasIterator::new).ok_or_else(|| too_short(payload))
}

fn field(payload: &[u8], offset: usize, length: usize) -> Result<&[u8], DecodeError> {
    payload.get(offset..offset + length).ok_or_else(|| too_short(payload))
}

fn too_short(payload: &[u8]) -> DecodeError {
    DecodeError::from(format!("message of {} bytes is too short", payload.len()))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use netlink_packet_core::Emitable;
    use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
    use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
    use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteNextHop, RouteType};

    use super::*;

    fn bytes(message: &impl Emitable) -> Vec<u8> {
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    fn veth(attributes: &[LinkAttribute]) -> Vec<u8> {
        let mut message = LinkMessage::default();
        message.header.index = 12;
        message.attributes.push(LinkAttribute::IfName("v".to_owned()));
        message.attributes.extend_from_slice(attributes);
        bytes(&message)
    }

    fn kind(kind: InfoKind) -> LinkAttribute {
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)])
    }

    #[test]
    fn only_veths_to_another_namespace_have_a_peer() {
        let away = [LinkAttribute::Link(4), LinkAttribute::LinkNetNsId(3)];
        let all = [&away[..], &[kind(InfoKind::Veth)]].concat();
        let found = link(&veth(&all)).unwrap();
        assert_eq!((found.ifindex, found.name.as_str()), (12, "v"));
        assert_eq!(found.peer, Some(Peer { ifindex: 4, namespace: 3 }));
        let other = [&away[..], &[kind(InfoKind::MacVlan)]].concat();
        assert_eq!(link(&veth(&other)).unwrap().peer, None);
        let near = [LinkAttribute::Link(4), kind(InfoKind::Veth)];
        assert_eq!(link(&veth(&near)).unwrap().peer, None);
    }

    #[test]
    fn loopback_and_bridges_lead_nowhere() {
        for (of_kind, inner) in
            [(InfoKind::Bridge, true), (InfoKind::Vxlan, false), (InfoKind::Veth, false)]
        {
            assert_eq!(link(&veth(&[kind(of_kind)])).unwrap().inner, inner);
        }
        let mut message = LinkMessage::default();
        assert!(!link(&bytes(&message)).unwrap().inner, "a device of its own");
        message.header.flags = LinkFlags::Loopback | LinkFlags::Up;
        assert!(link(&bytes(&message)).unwrap().inner);
    }

    #[test]
    fn the_own_address_of_a_point_to_point_link_counts() {
        let mut message = AddressMessage::default();
        message.header.index = 5;
        message.attributes.push(AddressAttribute::Address([192, 0, 2, 9].into()));
        message.attributes.push(AddressAttribute::Local([10, 0, 0, 1].into()));
        let found = address(&bytes(&message)).unwrap().unwrap();
        assert_eq!(found, Address { ifindex: 5, address: [10, 0, 0, 1].into(), global: true });
        message.header.scope = AddressScope::Link;
        assert!(!address(&bytes(&message)).unwrap().unwrap().global);
    }

    #[test]
    fn default_routes_name_their_interfaces_and_others_none() {
        let route = |length, attributes: &[RouteAttribute]| {
            let mut message = RouteMessage::default();
            message.header.destination_prefix_length = length;
            message.header.kind = RouteType::Unicast;
            message.attributes = attributes.to_vec();
            bytes(&message)
        };
        let hop = |ifindex| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = ifindex;
            hop.attributes = vec![RouteAttribute::Gateway(Ipv4Addr::new(192, 0, 2, 1).into())];
            hop
        };
        assert_eq!(default_route(&route(0, &[RouteAttribute::Oif(4)])).unwrap(), [4]);
        let multipath = [RouteAttribute::MultiPath(vec![hop(5), hop(6)])];
        assert_eq!(default_route(&route(0, &multipath)).unwrap(), [5, 6]);
        assert!(default_route(&route(32, &[RouteAttribute::Oif(4)])).unwrap().is_empty());
        let whole = route(0, &multipath);
        for end in 0..whole.len() {
            let _ = default_route(&whole[..end]);
        }
    }

    #[test]
    fn truncated_messages_are_errors_or_lack_attributes_but_never_panic() {
        let whole = veth(&[LinkAttribute::Link(4), LinkAttribute::LinkNetNsId(3)]);
        for end in 0..whole.len() {
            let part = &whole[..end];
            assert!(end >= LINK_HEADER || link(part).is_err());
            let _ = (link(part), address(part), namespace_id(part), messages(part).is_ok());
        }
        assert!(messages(&[7; 40]).is_err());
    }
}
