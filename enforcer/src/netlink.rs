//! Netlink: opening a socket, sending a request, splitting the answer into messages.
//!
//! Belongs here: the parts that `node` (lists and events), `kernel` (qdiscs and filters) and
//! `conntrack` share. Does not belong here: reading the content of a message.

use std::io;

use netlink_packet_core::{
    DecodeError, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable, parse_i32,
};
use netlink_sys::Socket;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};

/// More than the kernel puts into one datagram, in bytes.
pub(crate) const BUFFER: usize = 1 << 16;

/// One message of a datagram.
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

impl Message<'_> {
    /// The result of the request, if this is the last message of an answer.
    pub(crate) fn result(&self) -> Option<io::Result<()>> {
        if !matches!(self.kind, NLMSG_DONE | NLMSG_ERROR) {
            return None;
        }
        // Both kinds carry an error number, negated; 0 is success.
        let code = self.payload.get(..4).and_then(|bytes| parse_i32(bytes).ok()).unwrap_or(0);
        Some(match code {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
        })
    }
}

/// Opens a socket for rtnetlink in the network namespace of the calling thread.
pub(crate) fn open() -> io::Result<Socket> {
    open_protocol(NETLINK_ROUTE)
}

/// The same for netfilter's subsystems.
pub(crate) fn open_netfilter() -> io::Result<Socket> {
    open_protocol(NETLINK_NETFILTER)
}

fn open_protocol(protocol: isize) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    Ok(socket)
}

/// Sends a request. `flags` are those besides `NLM_F_REQUEST`.
pub(crate) fn send(
    socket: &Socket,
    flags: u16,
    sequence: u32,
    request: impl NetlinkSerializable,
) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0).map(|_| ())
}

/// Sends a request whose payload is encoded already. `flags` are those besides `NLM_F_REQUEST`.
pub(crate) fn send_encoded(
    socket: &Socket,
    kind: u16,
    flags: u16,
    payload: &[u8],
) -> io::Result<()> {
    // `struct nlmsghdr` (linux/netlink.h), with the sequence number and port 0.
    let length = u32::try_from(16 + payload.len()).map_err(io::Error::other)?;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(payload);
    socket.send(&bytes, 0).map(|_| ())
}

/// Splits a datagram into its messages.
pub(crate) fn messages(datagram: &[u8]) -> Result<Vec<Message<'_>>, DecodeError> {
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
