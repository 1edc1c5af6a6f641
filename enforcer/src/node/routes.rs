//! The routes that tell pods' interfaces and uplinks apart.
//!
//! Only routes that a program of the node made count. A pod can make the kernel add others: IPv6
//! router advertisements add default routes, routes of any prefix to "on-link" destinations, and
//! redirects. The kernel marks these with the protocols `ra`, `kernel` and `redirect`
//! (`net/ipv6/addrconf.c`, `net/ipv6/route.c`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use netlink_packet_core::{DecodeError, parse_ip, parse_u32};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{RouteHeader, RouteProtocol, RouteType};

use super::message::{attributes, next_hops};

/// A unicast route of the main table that a program of the node made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// A default route through these interfaces.
    Default(Vec<u32>),
    /// A route to one address, which is on the link of this interface.
    Host(IpAddr, u32),
}

/// The routes that matter.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// The interfaces of default routes.
    pub(super) defaults: BTreeSet<u32>,
    /// The destinations of host routes, by interface.
    pub(super) hosts: BTreeMap<u32, BTreeSet<IpAddr>>,
}

impl Extend<Route> for Routes {
    fn extend<T: IntoIterator<Item = Route>>(&mut self, routes: T) {
        for route in routes {
            match route {
                Route::Default(interfaces) => self.defaults.extend(interfaces),
                Route::Host(address, ifindex) => {
                    self.hosts.entry(ifindex).or_default().insert(address);
                }
            }
        }
    }
}

/// Reads `RTM_NEWROUTE`; `None` if it does not matter.
pub(super) fn route(payload: &[u8]) -> Result<Option<Route>, DecodeError> {
    let header = RouteHeader::parse(payload)?;
    if header.kind != RouteType::Unicast || !is_made(&header) {
        return Ok(None);
    }
    let (mut to, mut interfaces, mut has_gateway) = (None, Vec::new(), false);
    let mut table = u32::from(header.table);
    for attribute in attributes(payload, &header) {
        let attribute = attribute?;
        match attribute.kind() {
            libc::RTA_DST => to = Some(parse_ip(attribute.value())?),
            libc::RTA_TABLE => table = parse_u32(attribute.value())?,
            libc::RTA_OIF => interfaces.push(parse_u32(attribute.value())?),
            libc::RTA_GATEWAY | libc::RTA_VIA => has_gateway = true,
            libc::RTA_MULTIPATH => interfaces.extend(next_hops(attribute.value())?),
            _ => {}
        }
    }
    if table != u32::from(RouteHeader::RT_TABLE_MAIN) {
        return Ok(None);
    }
    let length = header.destination_prefix_length;
    Ok(match (to, interfaces.as_slice()) {
        (_, []) => None,
        (_, _) if length == 0 => Some(Route::Default(interfaces)),
        (Some(to @ IpAddr::V4(_)), [one]) if length == 32 && !has_gateway => {
            Some(Route::Host(to, *one))
        }
        (Some(to @ IpAddr::V6(_)), [one]) if length == 128 && !has_gateway => {
            Some(Route::Host(to, *one))
        }
        _ => None,
    })
}

/// Whether a program made the route. IPv4 has no router advertisements, so a pod cannot cause a route
/// of the kernel's there; some versions of Azure's plugin use that protocol for their own.
fn is_made(header: &RouteHeader) -> bool {
    match header.protocol {
        RouteProtocol::Ra | RouteProtocol::IcmpRedirect => false,
        RouteProtocol::Kernel => header.address_family == AddressFamily::Inet,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use netlink_packet_core::Emitable;
    use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteNextHop};

    use super::*;

    fn bytes(message: &RouteMessage) -> Vec<u8> {
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    fn message(length: u8, attributes: &[RouteAttribute]) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.destination_prefix_length = length;
        message.header.kind = RouteType::Unicast;
        message.header.protocol = RouteProtocol::Static;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.attributes = attributes.to_vec();
        message
    }

    fn read(message: &RouteMessage) -> Option<Route> {
        route(&bytes(message)).unwrap()
    }

    fn to4() -> RouteAttribute {
        RouteAttribute::Destination(RouteAddress::Inet(Ipv4Addr::new(10, 0, 0, 7)))
    }

    fn to6() -> RouteAttribute {
        RouteAttribute::Destination(RouteAddress::Inet6(Ipv6Addr::LOCALHOST))
    }

    fn gateway() -> RouteAttribute {
        RouteAttribute::Gateway(Ipv4Addr::new(192, 0, 2, 1).into())
    }

    #[test]
    fn default_routes_have_interfaces() {
        let hop = |ifindex| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = ifindex;
            hop.attributes = vec![gateway()];
            hop
        };
        let oif = RouteAttribute::Oif(4);
        assert_eq!(read(&message(0, &[oif.clone(), gateway()])), Some(Route::Default(vec![4])));
        let multipath = message(0, &[RouteAttribute::MultiPath(vec![hop(5), hop(6)])]);
        assert_eq!(read(&multipath), Some(Route::Default(vec![5, 6])));
        assert_eq!(read(&message(8, &[to4(), oif])), None);
        let whole = bytes(&multipath);
        for end in 0..whole.len() {
            let _ = route(&whole[..end]);
        }
    }

    #[test]
    fn host_routes_name_one_interface_on_whose_link_the_address_is() {
        let oif = RouteAttribute::Oif(4);
        let found = read(&message(32, &[to4(), oif.clone()]));
        assert_eq!(found, Some(Route::Host([10, 0, 0, 7].into(), 4)));
        assert_eq!(read(&message(32, &[to4(), oif.clone(), gateway()])), None);
        assert_eq!(read(&message(24, &[to4(), oif.clone()])), None);
        let mut six = message(128, &[to6(), oif]);
        six.header.address_family = AddressFamily::Inet6;
        assert_eq!(read(&six), Some(Route::Host(Ipv6Addr::LOCALHOST.into(), 4)));
    }

    /// Semantics S6: a pod that advertises itself as a router becomes none.
    #[test]
    fn s6_routes_that_a_pod_can_cause_do_not_count() {
        for (length, to) in [(0, None), (128, Some(to6()))] {
            for protocol in [RouteProtocol::Ra, RouteProtocol::IcmpRedirect, RouteProtocol::Kernel]
            {
                let list: Vec<_> = to.iter().cloned().chain([RouteAttribute::Oif(4)]).collect();
                let mut learned = message(length, &list);
                learned.header.address_family = AddressFamily::Inet6;
                assert!(read(&learned).is_some(), "as made by a program");
                learned.header.protocol = protocol;
                assert_eq!(read(&learned), None, "{protocol:?}");
            }
        }
    }

    #[test]
    fn s6_other_tables_do_not_count() {
        let mut other = message(0, &[RouteAttribute::Oif(4)]);
        other.header.table = 100;
        assert_eq!(read(&other), None);
        let mut large = message(0, &[RouteAttribute::Oif(4), RouteAttribute::Table(1000)]);
        large.header.table = 252;
        assert_eq!(read(&large), None);
    }
}
