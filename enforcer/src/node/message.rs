//! Reading the content of netlink messages.
//!
//! Only the needed attributes are read, so that an attribute of a newer kernel can't hide an
//! interface.

use std::net::IpAddr;

use netlink_packet_core::{
    DecodeError, Emitable, NlasIterator, Parseable, parse_i32, parse_ip, parse_string, parse_u16,
    parse_u32,
};
use netlink_packet_route::address::{AddressHeader, AddressScope};
use netlink_packet_route::link::{LinkFlags, LinkHeader, LinkLayerType};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netlink_packet_route::route::{RouteHeader, RouteType};

/// The length of `struct rtnexthop`.
const NEXT_HOP: usize = 8;

/// The other end of a veth pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    /// Its index in its own namespace.
    pub(super) ifindex: u32,
    /// The namespace's id; negative if it has none, because it is being destroyed.
    pub(super) namespace: i32,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) ifindex: u32,
    pub(super) name: String,
    /// The other end, if this is a veth with an end in another namespace.
    pub(super) peer: Option<Peer>,
    /// Whether it leads only to the node itself: the loopback interface, and bridges, whose packets
    /// leave by their ports.
    pub(super) inner: bool,
    /// Whether its packets have Ethernet headers.
    pub(super) is_ethernet: bool,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) ifindex: u32,
    pub(super) address: IpAddr,
    /// Whether its scope is global (`RT_SCOPE_UNIVERSE`).
    pub(super) global: bool,
}

/// Reads `RTM_NEWLINK`.
pub(super) fn link(payload: &[u8]) -> Result<Link, DecodeError> {
    let header = LinkHeader::parse(payload)?;
    let (mut name, mut kind) = (String::new(), None);
    let (mut peer, mut namespace) = (None, None);
    for attribute in attributes(payload, &header) {
        let attribute = attribute?;
        match attribute.kind() {
            libc::IFLA_IFNAME => name = parse_string(attribute.value())?,
            libc::IFLA_LINK => peer = Some(parse_u32(attribute.value())?),
            libc::IFLA_LINK_NETNSID => namespace = Some(parse_i32(attribute.value())?),
            libc::IFLA_LINKINFO => kind = link_kind(attribute.value())?,
            _ => {}
        }
    }
    let kind = kind.as_deref();
    let peer = peer.zip(namespace).filter(|_| kind == Some("veth"));
    let peer = peer.map(|(ifindex, namespace)| Peer { ifindex, namespace });
    let inner = header.flags.contains(LinkFlags::Loopback) || kind == Some("bridge");
    let is_ethernet = header.link_layer_type == LinkLayerType::Ether;
    Ok(Link { ifindex: header.index, name, peer, inner, is_ethernet })
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

/// Reads `RTM_NEWADDR`; `None` if it has no unicast address.
pub(super) fn address(payload: &[u8]) -> Result<Option<Address>, DecodeError> {
    let header = AddressHeader::parse(payload)?;
    let global = header.scope == AddressScope::Universe;
    let (mut local, mut address) = (None, None);
    for attribute in attributes(payload, &header) {
        let attribute = attribute?;
        match attribute.kind() {
            // On a point-to-point link IFA_ADDRESS is the other end's address.
            libc::IFA_LOCAL => local = Some(parse_ip(attribute.value())?),
            libc::IFA_ADDRESS => address = Some(parse_ip(attribute.value())?),
            _ => {}
        }
    }
    Ok(local.or(address).map(|address| Address { ifindex: header.index, address, global }))
}

/// The interfaces of the default route in `RTM_NEWROUTE`; none if it is another route.
pub(super) fn default_route(payload: &[u8]) -> Result<Vec<u32>, DecodeError> {
    let header = RouteHeader::parse(payload)?;
    let mut interfaces = Vec::new();
    if header.destination_prefix_length != 0 || header.kind != RouteType::Unicast {
        return Ok(interfaces);
    }
    for attribute in attributes(payload, &header) {
        let attribute = attribute?;
        match attribute.kind() {
            libc::RTA_OIF => interfaces.push(parse_u32(attribute.value())?),
            libc::RTA_MULTIPATH => {
                let mut hops = attribute.value();
                while !hops.is_empty() {
                    let length = parse_u16(field(hops, 0, 2)?)?;
                    interfaces.push(parse_u32(field(hops, 4, 4)?)?);
                    // An entry with length 0 would repeat forever.
                    let next = usize::from(length).max(NEXT_HOP).next_multiple_of(4);
                    hops = hops.get(next..).unwrap_or_default();
                }
            }
            _ => {}
        }
    }
    Ok(interfaces)
}

/// The id in `RTM_NEWNSID` or `RTM_DELNSID`.
pub(super) fn namespace_id(payload: &[u8]) -> Result<Option<i32>, DecodeError> {
    let id = |attribute: &_| match attribute {
        NsidAttribute::Id(id) => Some(*id),
        _ => None,
    };
    Ok(NsidMessage::parse(payload)?.attributes.iter().find_map(id))
}

/// The attributes behind a message's header, which was read from the same payload.
fn attributes<'a>(payload: &'a [u8], header: &impl Emitable) -> NlasIterator<&'a [u8]> {
    NlasIterator::new(payload.get(header.buffer_len()..).unwrap_or_default())
}

fn field(payload: &[u8], offset: usize, length: usize) -> Result<&[u8], DecodeError> {
    let field = payload.get(offset..offset + length);
    field.ok_or_else(|| DecodeError::buffer_too_small(payload.len(), offset + length))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use netlink_packet_route::address::{AddressAttribute, AddressMessage};
    use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
    use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteNextHop};

    use super::*;
    use crate::netlink::messages;

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
    fn loopback_and_bridges_lead_only_to_the_node() {
        for (of_kind, inner) in
            [(InfoKind::Bridge, true), (InfoKind::Vxlan, false), (InfoKind::Veth, false)]
        {
            assert_eq!(link(&veth(&[kind(of_kind)])).unwrap().inner, inner);
        }
        let mut message = LinkMessage::default();
        assert!(!link(&bytes(&message)).unwrap().inner, "another kind of device");
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
    fn only_default_routes_have_interfaces() {
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
            assert!(end >= LinkHeader::default().buffer_len() || link(part).is_err());
            let _ = (link(part), address(part), namespace_id(part), messages(part).is_ok());
        }
        assert!(messages(&[7; 40]).is_err());
    }
}
