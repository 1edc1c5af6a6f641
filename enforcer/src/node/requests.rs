//! Asking the kernel for lists.

use std::collections::BTreeSet;
use std::io;

use netlink_packet_core::{
    DecodeError, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, parse_i32,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::NodeError;
use super::message::{self, Address, Link, Message};

/// More than the kernel puts into one datagram of a list.
const BUFFER: usize = 1 << 16;

/// How often a list that changed while it was read is asked for again.
const ATTEMPTS: usize = 20;

/// A socket for requests.
pub(super) struct Requests {
    socket: Socket,
    sequence: u32,
}

/// What a datagram of a list says about the list.
#[derive(Default)]
struct Progress {
    done: bool,
    interrupted: bool,
}

impl Requests {
    /// Opens a socket in the network namespace of the calling thread.
    pub(super) fn open() -> Result<Self, NodeError> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            // Without it the kernel ignores the namespace id in requests for addresses.
            socket.set_netlink_get_strict_chk(true)?;
            socket.bind_auto()?;
            Ok(socket)
        };
        let socket =
            open().map_err(|source| NodeError::Socket { what: "open a netlink socket", source })?;
        Ok(Self { socket, sequence: 0 })
    }

    /// All interfaces of the socket's namespace.
    pub(super) fn links(&mut self) -> Result<Vec<Link>, NodeError> {
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let parse = |payload: &[u8]| message::link(payload).map(Some);
        self.list("interfaces", &RouteNetlinkMessage::GetLink(request), parse)
    }

    /// All addresses of the socket's namespace, or of the one with this id.
    pub(super) fn addresses(&mut self, namespace: Option<i32>) -> Result<Vec<Address>, NodeError> {
        let mut request = AddressMessage::default();
        request.attributes.extend(namespace.map(AddressAttribute::TargetNetNsId));
        self.list("addresses", &RouteNetlinkMessage::GetAddress(request), message::address)
    }

    /// The interfaces that default routes of either family lead to, in any table.
    pub(super) fn default_routes(&mut self) -> Result<BTreeSet<u32>, NodeError> {
        let mut interfaces = BTreeSet::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            let parse = |payload: &[u8]| message::default_route(payload).map(Some);
            let routes = self.list("routes", &RouteNetlinkMessage::GetRoute(request), parse)?;
            interfaces.extend(routes.into_iter().flatten());
        }
        Ok(interfaces)
    }

    fn list<T>(
        &mut self,
        what: &'static str,
        request: &RouteNetlinkMessage,
        parse: impl Fn(&[u8]) -> Result<Option<T>, DecodeError>,
    ) -> Result<Vec<T>, NodeError> {
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
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        header.sequence_number = self.sequence;
        let payload = NetlinkPayload::InnerMessage(request.clone());
        let mut message = NetlinkMessage::new(header, payload);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(|_| ())
    }

    /// Reads a list to its end; `None` if it changed meanwhile.
    fn receive<T>(
        &self,
        what: &'static str,
        parse: impl Fn(&[u8]) -> Result<Option<T>, DecodeError>,
    ) -> Result<Option<Vec<T>>, NodeError> {
        let mut items = Vec::new();
        let mut progress = Progress::default();
        let mut buffer = Vec::with_capacity(BUFFER);
        while !progress.done {
            buffer.clear();
            self.socket
                .recv(&mut buffer, 0)
                .map_err(|source| NodeError::Request { what, source })?;
            let malformed = |source| NodeError::Malformed { what, source };
            for message in message::messages(&buffer).map_err(malformed)? {
                // The rest of an earlier list that ended with an error.
                if message.sequence != self.sequence {
                    continue;
                }
                progress.note(&message).map_err(|source| NodeError::Request { what, source })?;
                if !progress.done {
                    items.extend(parse(message.payload).map_err(malformed)?);
                }
            }
        }
        Ok((!progress.interrupted).then_some(items))
    }
}

impl Progress {
    fn note(&mut self, message: &Message<'_>) -> io::Result<()> {
        self.interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
        self.done = matches!(message.kind, NLMSG_DONE | NLMSG_ERROR);
        if !self.done {
            return Ok(());
        }
        // Both end with an error number, negated; 0 for success.
        let code = message.payload.get(..4).and_then(|bytes| parse_i32(bytes).ok()).unwrap_or(0);
        if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code.wrapping_neg())) }
    }
}
