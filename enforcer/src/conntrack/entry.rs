//! An entry of connection tracking, and whether it is evidence for the initiator of a living
//! connection.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use enforcer_ebpf::packet::protocol;
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute as Attribute, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Status,
    Tuple as Part,
};

/// `enum tcp_conntrack` of `linux/netfilter/nf_conntrack_tcp.h`: data may still flow.
const ESTABLISHED: u8 = 3;
const FIN_WAIT: u8 = 4;
const CLOSE_WAIT: u8 = 5;

/// `IP_CT_TCP_FLAG_BE_LIBERAL`. The kernel sets it at both ends of a connection that it found in
/// progress (`tcp_new` in `net/netfilter/nf_conntrack_proto_tcp.c`).
const BE_LIBERAL: u8 = 0x08;

/// `CTA_ZONE` and `CTA_TUPLE_ZONE` of `linux/netfilter/nfnetlink_conntrack.h`.
const ZONE: u16 = 18;
const TUPLE_ZONE: u16 = 3;

/// A living connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// IP protocol number.
    pub protocol: u8,
    /// The initiator's packets, as the initiator sends them.
    pub original: Tuple,
    /// The responder's packets, as the responder sends them: their ends differ from those of
    /// `original` if addresses are translated.
    pub reply: Tuple,
    /// How far it has got.
    pub progress: Progress,
    /// The time until the entry ends, if no packet follows.
    pub remaining: Duration,
}

/// The ends of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple {
    /// The sender.
    pub source: SocketAddr,
    /// The receiver.
    pub destination: SocketAddr,
}

/// The progress of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Packets of one end only.
    Unanswered,
    /// A question and its answer.
    Answered,
    /// More than that.
    Established,
}

/// The reason why an entry is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It has ended, or has not begun.
    NotLiving,
    /// The kernel found the connection in progress: either end may have initiated it. A server
    /// that continues after the entry has expired is enough, and a client can bring that about.
    PickedUp,
    /// It lacks something, or its protocol or its zone is not of interest.
    Unreadable,
}

impl Entry {
    /// Reads an entry.
    ///
    /// # Errors
    /// The reason why it is no evidence.
    pub(super) fn of(attributes: &[Attribute]) -> Result<Self, Doubt> {
        let (mut original, mut reply, mut status, mut remaining) = (None, None, None, None);
        let mut tcp = None;
        for attribute in attributes {
            match attribute {
                Attribute::CtaTupleOrig(parts) => original = tuple(parts),
                Attribute::CtaTupleReply(parts) => reply = tuple(parts),
                Attribute::CtaStatus(it) => status = Some(*it),
                Attribute::CtaTimeout(seconds) => {
                    remaining = Some(Duration::from_secs((*seconds).into()));
                }
                Attribute::CtaProtoInfo(info) => tcp = info.iter().find_map(tcp_of),
                // Another table of connections, whose addresses may mean other hosts.
                Attribute::Other(other) if netlink_packet_core::Nla::kind(other) == ZONE => {
                    return Err(Doubt::Unreadable);
                }
                _ => {}
            }
        }
        let ((number, original), (other, reply)) = original.zip(reply).ok_or(Doubt::Unreadable)?;
        // The kernel shows no timeout of a connection that it forwards past its hooks.
        let (status, remaining) = status.zip(remaining).ok_or(Doubt::Unreadable)?;
        if number != other {
            return Err(Doubt::Unreadable);
        }
        if status.intersects(Status::Dying | Status::Template | Status::Untracked) {
            return Err(Doubt::NotLiving);
        }
        let progress = progress(number, status, tcp)?;
        Ok(Self { protocol: number, original, reply, progress, remaining })
    }
}

fn progress(number: u8, status: Status, tcp: Option<Tcp>) -> Result<Progress, Doubt> {
    let is_assured = status.contains(Status::Assured);
    if number == protocol::TCP {
        let tcp = tcp.ok_or(Doubt::Unreadable)?;
        // Assured: its handshake is complete. An opening one is retransmitted, and seen then.
        if !is_assured || !matches!(tcp.state, ESTABLISHED | FIN_WAIT | CLOSE_WAIT) {
            return Err(Doubt::NotLiving);
        }
        if tcp.flags & BE_LIBERAL != 0 {
            return Err(Doubt::PickedUp);
        }
        return Ok(Progress::Established);
    }
    Ok(match status.contains(Status::SeenReply) {
        true if is_assured => Progress::Established,
        true => Progress::Answered,
        false => Progress::Unanswered,
    })
}

#[derive(Clone, Copy)]
struct Tcp {
    state: u8,
    /// Of both ends.
    flags: u8,
}

fn tcp_of(info: &ProtoInfo) -> Option<Tcp> {
    let ProtoInfo::TCP(parts) = info else { return None };
    let (mut state, mut flags) = (None, 0);
    for part in parts {
        match part {
            ProtoInfoTCP::State(it) => state = Some(*it),
            ProtoInfoTCP::OriginalFlags(it) | ProtoInfoTCP::ReplyFlags(it) => flags |= it.flags,
            _ => {}
        }
    }
    Some(Tcp { state: state?, flags })
}

/// The protocol and the ends; `None` if the protocol has no ports.
fn tuple(parts: &[Part]) -> Option<(u8, Tuple)> {
    let (mut source, mut destination) = (None, None);
    let (mut number, mut from, mut to) = (None, None, None);
    for part in parts {
        match part {
            Part::Ip(addresses) => {
                for address in addresses {
                    match address {
                        IPTuple::SourceAddress(it) => source = Some(*it),
                        IPTuple::DestinationAddress(it) => destination = Some(*it),
                        _ => {}
                    }
                }
            }
            Part::Proto(fields) => {
                for field in fields {
                    match field {
                        ProtoTuple::Protocol(it) => number = Some(u8::from(*it)),
                        ProtoTuple::SourcePort(it) => from = Some(*it),
                        ProtoTuple::DestinationPort(it) => to = Some(*it),
                        _ => {}
                    }
                }
            }
            Part::Other(other) if netlink_packet_core::Nla::kind(other) == TUPLE_ZONE => {
                return None;
            }
            _ => {}
        }
    }
    let number =
        number.filter(|it| matches!(*it, protocol::TCP | protocol::UDP | protocol::SCTP))?;
    let end = |address: Option<IpAddr>, port: Option<u16>| Some(SocketAddr::new(address?, port?));
    let tuple = Tuple { source: end(source, from)?, destination: end(destination, to)? };
    (tuple.source.is_ipv4() == tuple.destination.is_ipv4()).then_some((number, tuple))
}

#[cfg(test)]
mod tests;
