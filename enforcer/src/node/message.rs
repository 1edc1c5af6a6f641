//! Reading the content of netlink messages.
//!
//! Only the needed attributes are read, so that an attribute of a newer kernel can't hide an
//! interface.

use std::net::IpAddr;

use netlink_packet_core::{
    DecodeError, Emitable, NlasIterator, Parseable, parse_i32, parse_ip, parse_string, parse_u16,
    parse_u32,
};
use netlink_packet_route::address::{AddressHeader, AddressHeaderFlags, AddressScope};
use netlink_packet_route::link::{LinkFlags, LinkHeader, LinkLayerType};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};

use super::identity;

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
    /// Whether it leads only to the node itself: the loopback interface; bridges, whose packets leave
    /// by their ports; veths with both ends here, as while a CNI plugin builds one; ifb devices, which
    /// put packets back into their interface; dummies.
    pub(super) inner: bool,
    /// Whether its packets have Ethernet headers.
    pub(super) is_ethernet: bool,
    /// See [`identity`].
    pub(super) identity: u32,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) ifindex: u32,
    pub(super) address: IpAddr,
    /// Whether its scope is global (`RT_SCOPE_UNIVERSE`).
    pub(super) global: bool,
    /// Whether it was configured (`IFA_F_PERMANENT`): addresses from router advertisements are not.
    pub(super) permanent: bool,
}

/// Reads `RTM_NEWLINK`.
pub(super) fn link(payload: &[u8]) -> Result<Link, DecodeError> {
    let header = LinkHeader::parse(payload)?;
    let (mut name, mut kind, mut mac) = (String::new(), None, Vec::new());
    let (mut peer, mut namespace) = (None, None);
    for attribute in attributes(payload, &header) {
        let attribute = attribute?;
        match attribute.kind() {
            libc::IFLA_IFNAME => name = parse_string(attribute.value())?,
            libc::IFLA_ADDRESS => mac = attribute.value().to_vec(),
            libc::IFLA_LINK => peer = Some(parse_u32(attribute.value())?),
            libc::IFLA_LINK_NETNSID => namespace = Some(parse_i32(attribute.value())?),
            libc::IFLA_LINKINFO => kind = link_kind(attribute.value())?,
            _ => {}
        }
    }
    let kind = kind.as_deref();
    let peer = peer.zip(namespace).filter(|_| kind == Some("veth"));
    let peer = peer.map(|(ifindex, namespace)| Peer { ifindex, namespace });
    let is_inner_kind = matches!(kind, Some("bridge" | "dummy" | "ifb"));
    let is_near_veth = kind == Some("veth") && peer.is_none();
    let inner = header.flags.contains(LinkFlags::Loopback) || is_inner_kind || is_near_veth;
    let is_ethernet = header.link_layer_type == LinkLayerType::Ether;
    let identity = identity(&name, &mac);
    Ok(Link { ifindex: header.index, name, peer, inner, is_ethernet, identity })
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
    let permanent = header.flags.contains(AddressHeaderFlags::Permanent);
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
    let ifindex = header.index;
    Ok(local.or(address).map(|address| Address { ifindex, address, global, permanent }))
}

/// The interfaces in `RTA_MULTIPATH`.
pub(super) fn next_hops(mut hops: &[u8]) -> Result<Vec<u32>, DecodeError> {
    let mut interfaces = Vec::new();
    while !hops.is_empty() {
        let length = parse_u16(field(hops, 0, 2)?)?;
        interfaces.push(parse_u32(field(hops, 4, 4)?)?);
        // An entry with length 0 would repeat forever.
        let next = usize::from(length).max(NEXT_HOP).next_multiple_of(4);
        hops = hops.get(next..).unwrap_or_default();
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
pub(super) fn attributes<'a>(payload: &'a [u8], header: &impl Emitable) -> NlasIterator<&'a [u8]> {
    NlasIterator::new(payload.get(header.buffer_len()..).unwrap_or_default())
}

fn field(payload: &[u8], offset: usize, length: usize) -> Result<&[u8], DecodeError> {
    let field = payload.get(offset..offset + length);
    field.ok_or_else(|| DecodeError::buffer_too_small(payload.len(), offset + length))
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::address::{AddressAttribute, AddressMessage};
    use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};

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
    fn s6_loopback_bridges_ifbs_and_near_veths_lead_only_to_the_node() {
        for (of_kind, inner) in [
            (InfoKind::Bridge, true),
            (InfoKind::Ifb, true),
            (InfoKind::Dummy, true),
            (InfoKind::Vxlan, false),
            // Both ends are here, as while a CNI plugin builds it.
            (InfoKind::Veth, true),
        ] {
            assert_eq!(link(&veth(&[kind(of_kind)])).unwrap().inner, inner);
        }
        let away = [LinkAttribute::Link(4), LinkAttribute::LinkNetNsId(3), kind(InfoKind::Veth)];
        assert!(!link(&veth(&away)).unwrap().inner);
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
        let address_of = |permanent| Address {
            ifindex: 5,
            address: [10, 0, 0, 1].into(),
            global: true,
            permanent,
        };
        assert_eq!(found, address_of(false));
        message.header.flags = AddressHeaderFlags::Permanent;
        assert_eq!(address(&bytes(&message)).unwrap().unwrap(), address_of(true));
        message.header.scope = AddressScope::Link;
        assert!(!address(&bytes(&message)).unwrap().unwrap().global);
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
