//! The id of the network namespace at a path.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};

use super::message;
use crate::netlink;

/// The id that the calling thread's network namespace has for another one, given by a path like
/// `/run/netns/pod` or `/proc/1/ns/net`; `None` if it has no id, because no veth leads there.
///
/// # Errors
/// The path can't be opened, or is not a network namespace.
pub fn namespace_id(path: &Path) -> io::Result<Option<i32>> {
    let namespace = File::open(path)?;
    let mut request = NsidMessage::default();
    // A descriptor is never negative.
    request.attributes.push(NsidAttribute::Fd(namespace.as_raw_fd().cast_unsigned()));
    let socket = netlink::open()?;
    netlink::send(&socket, 0, 0, RouteNetlinkMessage::GetNsId(request))?;
    let mut answer = Vec::with_capacity(netlink::BUFFER);
    socket.recv(&mut answer, 0)?;
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    for message in netlink::messages(&answer).map_err(invalid)? {
        message.result().transpose()?;
        if message.kind == libc::RTM_NEWNSID {
            let id = message::namespace_id(message.payload).map_err(invalid)?;
            return Ok(id.filter(|id| *id >= 0));
        }
    }
    Ok(None)
}
