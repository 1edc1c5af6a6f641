//! Requesting lists from the kernel.

use std::io;

use netlink_packet_core::{DecodeError, NLM_F_DUMP, NLM_F_DUMP_INTR};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::Socket;

use super::NodeError;
use super::message::{self, Address, Link};
use super::routes::{self, Routes};
use crate::netlink;

/// The maximum of attempts to read a list that changes while it is read.
const ATTEMPTS: usize = 20;

/// A socket for requests.
pub(super) struct Requests {
    socket: Socket,
    sequence: u32,
}

impl Requests {
    /// Opens a socket in the network namespace of the calling thread.
    pub(super) fn open() -> Result<Self, NodeError> {
        let failed = |source| NodeError::Socket { what: "open a netlink socket", source };
        let socket = netlink::open().map_err(failed)?;
        // Otherwise the kernel ignores the namespace id in requests for addresses.
        socket.set_netlink_get_strict_chk(true).map_err(failed)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// All interfaces of the socket's namespace.
    pub(super) fn links(&mut self) -> Result<Vec<Link>, NodeError> {
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let parse = |payload: &[u8]| message::link(payload).map(Some);
        self.list("interfaces", &RouteNetlinkMessage::GetLink(request), parse)
    }

    /// All addresses of the socket's namespace, or of the namespace with this id.
    pub(super) fn addresses(&mut self, namespace: Option<i32>) -> Result<Vec<Address>, NodeError> {
        let mut request = AddressMessage::default();
        request.attributes.extend(namespace.map(AddressAttribute::TargetNetNsId));
        self.list("addresses", &RouteNetlinkMessage::GetAddress(request), message::address)
    }

    /// The routes of both families that matter here.
    pub(super) fn routes(&mut self) -> Result<Routes, NodeError> {
        let mut routes = Routes::default();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            let request = RouteNetlinkMessage::GetRoute(request);
            routes.extend(self.list("routes", &request, routes::route)?);
        }
        Ok(routes)
    }

    /// Requests a list. `parse` returns the items in a message.
    fn list<I: IntoIterator>(
        &mut self,
        what: &'static str,
        request: &RouteNetlinkMessage,
        parse: impl Fn(&[u8]) -> Result<I, DecodeError>,
    ) -> Result<Vec<I::Item>, NodeError> {
        for _ in 0..ATTEMPTS {
            self.send(request).map_err(|source| NodeError::Request { what, source })?;
            if let Some(items) = self.receive(what, &parse)? {
                return Ok(items);
            }
        }
        Err(NodeError::Interrupted { what })
    }

    fn send(&mut self, request: &RouteNetlinkMessage) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        netlink::send(&self.socket, NLM_F_DUMP, self.sequence, request.clone())
    }

    /// Reads a list to its end; `None` if it changed meanwhile.
    fn receive<I: IntoIterator>(
        &self,
        what: &'static str,
        parse: impl Fn(&[u8]) -> Result<I, DecodeError>,
    ) -> Result<Option<Vec<I::Item>>, NodeError> {
        let failed = |source| NodeError::Request { what, source };
        let malformed = |source| NodeError::Malformed { what, source };
        let mut items = Vec::new();
        let mut interrupted = false;
        let mut buffer = Vec::with_capacity(netlink::BUFFER);
        loop {
            buffer.clear();
            self.socket.recv(&mut buffer, 0).map_err(failed)?;
            for message in netlink::messages(&buffer).map_err(malformed)? {
                // The rest of an earlier list that ended with an error.
                if message.sequence != self.sequence {
                    continue;
                }
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                if let Some(result) = message.result() {
                    return result.map(|()| (!interrupted).then_some(items)).map_err(failed);
                }
                items.extend(parse(message.payload).map_err(malformed)?);
            }
        }
    }
}
