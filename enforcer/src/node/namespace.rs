//! Which network namespace a path stands for.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use netlink_packet_core::{
    NLM_F_REQUEST, NLMSG_ERROR, NetlinkHeader, NetlinkMessage, NetlinkPayload, parse_i32,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::message;

/// The id that the calling thread's network namespace gives to another one, by a path like
/// `/run/netns/pod` or `/proc/1/ns/net`; `None` if it has given none: then no veth leads there.
///
/// # Errors
/// The path can't be opened, or is that of something else.
pub fn namespace_id(path: &Path) -> io::Result<Option<i32>> {
    let namespace = File::open(path)?;
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.send(&request(&namespace), 0)?;
    let mut answer = Vec::with_capacity(4096);
    socket.recv(&mut answer, 0)?;
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    for message in message::messages(&answer).map_err(invalid)? {
        match message.kind {
            libc::RTM_NEWNSID => {
                let id = message::namespace_id(message.payload).map_err(invalid)?;
                return Ok(id.filter(|id| *id >= 0));
            }
            NLMSG_ERROR => {
                let code = message.payload.get(..4).and_then(|it| parse_i32(it).ok()).unwrap_or(0);
                return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
            }
            _ => {}
        }
    }
    Ok(None)
}

fn request(namespace: &File) -> Vec<u8> {
    let mut request = NsidMessage::default();
    // A descriptor is never negative.
    request.attributes.push(NsidAttribute::Fd(namespace.as_raw_fd().cast_unsigned()));
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let payload = NetlinkPayload::InnerMessage(RouteNetlinkMessage::GetNsId(request));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}
