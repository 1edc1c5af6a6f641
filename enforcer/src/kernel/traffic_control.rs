//! Messages of traffic control (rtnetlink(7), `linux/pkt_sched.h`, `linux/pkt_cls.h`): encoding,
//! sending, and reading the answers.
//!
//! Filters of other programs are copied byte by byte, so attributes are read here without knowing
//! their meaning.

use std::io;

use aya::programs::TcAttachType;
use netlink_packet_core::{DefaultNla, Emitable as _, NLA_F_NESTED, NlaBuffer, NlasIterator};
use netlink_sys::Socket;

use crate::netlink;

/// The size of `struct tcmsg`.
const HEADER: usize = 20;

pub(super) const TCA_KIND: u16 = 1;
pub(super) const TCA_OPTIONS: u16 = 2;
pub(super) const TCA_CHAIN: u16 = 11;

/// The parent and place of a qdisc of kind `ingress` or `clsact`.
pub(super) const INGRESS_QDISC: u32 = 0xffff_fff1;
/// The handle of such a qdisc.
pub(super) const INGRESS_HANDLE: u32 = 0xffff_0000;
/// In place of an interface index: the message is about a shared block (`TCM_IFINDEX_MAGIC_BLOCK`).
const SHARED_BLOCK: u32 = u32::MAX;
const INGRESS_FILTERS: u32 = 0xffff_fff2;
const EGRESS_FILTERS: u32 = 0xffff_fff3;

/// The parent of the filters of a hook.
pub(super) fn parent(hook: TcAttachType) -> u32 {
    match hook {
        TcAttachType::Ingress => INGRESS_FILTERS,
        TcAttachType::Egress => EGRESS_FILTERS,
        TcAttachType::Custom(parent) => parent,
    }
}

/// An attribute of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attribute {
    pub(super) kind: u16,
    pub(super) value: Vec<u8>,
}

impl Attribute {
    pub(super) fn new(kind: u16, value: impl Into<Vec<u8>>) -> Self {
        Self { kind, value: value.into() }
    }

    pub(super) fn text(kind: u16, text: &str) -> Self {
        Self::new(kind, [text.as_bytes(), &[0]].concat())
    }

    pub(super) fn number(kind: u16, number: u32) -> Self {
        Self::new(kind, number.to_ne_bytes())
    }

    pub(super) fn nested(kind: u16, attributes: &[Self]) -> Self {
        Self::new(kind | NLA_F_NESTED, encode(attributes))
    }

    pub(super) fn as_number(&self) -> Option<u32> {
        self.value.first_chunk().copied().map(u32::from_ne_bytes)
    }
}

/// The attributes in a message or in an attribute; those that can't be read are left out.
pub(super) fn attributes(bytes: &[u8]) -> Vec<Attribute> {
    let readable = NlasIterator::new(bytes).map_while(Result::ok);
    // `kind` has no flags.
    readable.map(|it: NlaBuffer<&[u8]>| Attribute::new(it.kind(), it.value())).collect()
}

pub(super) fn encode(attributes: &[Attribute]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Attribute { kind, value } in attributes {
        let attribute = DefaultNla::new(*kind, value.clone());
        let start = bytes.len();
        bytes.resize(start + attribute.buffer_len(), 0);
        if let Some(room) = bytes.get_mut(start..) {
            attribute.emit(room);
        }
    }
    bytes
}

/// A message: `struct tcmsg` and its attributes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Message {
    pub(super) ifindex: u32,
    pub(super) handle: u32,
    pub(super) parent: u32,
    /// Of a filter: priority and protocol.
    pub(super) info: u32,
    pub(super) attributes: Vec<Attribute>,
}

impl Message {
    /// Reads the payload of a netlink message; `None` if it is too short.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let word = |at: usize| payload.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes);
        Some(Self {
            ifindex: word(4)?,
            handle: word(8)?,
            parent: word(12)?,
            info: word(16)?,
            attributes: attributes(payload.get(HEADER..)?),
        })
    }

    /// The interface; `None`: a block of filters that several interfaces may share.
    pub(super) fn interface(&self) -> Option<u32> {
        (self.ifindex != SHARED_BLOCK).then_some(self.ifindex)
    }

    fn encode(&self) -> Vec<u8> {
        let words = [0, self.ifindex, self.handle, self.parent, self.info];
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
        bytes.extend(encode(&self.attributes));
        bytes
    }

    /// The first attribute of a kind.
    pub(super) fn attribute(&self, kind: u16) -> Option<&Attribute> {
        self.attributes.iter().find(|it| it.kind == kind)
    }

    /// The kind of the qdisc or filter.
    pub(super) fn kind(&self) -> String {
        let name = self.attribute(TCA_KIND).map(|it| it.value.as_slice()).unwrap_or_default();
        String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()
    }
}

/// Sends a request, and returns the objects in the answer.
pub(super) fn request(kind: u16, flags: u16, message: &Message) -> io::Result<Vec<Message>> {
    let socket: Socket = netlink::open()?;
    netlink::send_encoded(&socket, kind, flags, &message.encode())?;
    let mut listed = Vec::new();
    let mut buffer = Vec::with_capacity(netlink::BUFFER);
    loop {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        for message in netlink::messages(&buffer).map_err(io::Error::other)? {
            match message.result() {
                Some(result) => return result.map(|()| listed),
                None => listed.extend(Message::parse(message.payload)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        let message = Message {
            ifindex: 7,
            handle: 1,
            parent: INGRESS_FILTERS,
            info: 0x1_0300,
            attributes: vec![
                Attribute::text(TCA_KIND, "u32"),
                Attribute::new(TCA_OPTIONS, [1, 2, 3, 4, 5]),
            ],
        };
        let read = Message::parse(&message.encode()).unwrap();
        assert_eq!(read, message);
        assert_eq!(read.kind(), "u32");
        assert_eq!(Message::parse(&[0; 19]), None);
    }
}
