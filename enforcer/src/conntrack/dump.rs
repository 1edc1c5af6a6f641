//! Requesting the entries of both families from the kernel (ctnetlink).

use std::io;

use netlink_packet_core::{NLM_F_DUMP, ParseableParametrized as _};
use netlink_packet_netfilter::conntrack::ConntrackMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::Socket;

use super::entry::{Doubt, Entry};
use crate::netlink;

/// Connection tracking can't be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} (needed: the kernel's nf_conntrack_netlink, and CAP_NET_ADMIN): {source}")]
pub struct ConntrackError {
    action: &'static str,
    source: io::Error,
}

/// The number of entries that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All entries.
    pub entries: u64,
    /// Living connections that conntrack itself found in progress: it does not know who initiated
    /// them.
    pub picked_up: u64,
}

/// Passes each living connection whose initiator is known to `take`.
///
/// The network namespace is that of the calling thread. 100,000 entries take less than a second.
///
/// # Errors
/// The kernel has no connection tracking, or does not let the agent read it.
pub fn read(mut take: impl FnMut(Entry)) -> Result<Counts, ConntrackError> {
    let failed = |action| move |source| ConntrackError { action, source };
    let socket = netlink::open_netfilter().map_err(failed("open a netfilter socket"))?;
    let mut counts = Counts::default();
    for (sequence, family) in [(1, NetfilterProtoFamily::IPv4), (2, NetfilterProtoFamily::IPv6)] {
        let header = NetfilterHeader::new(family, 0, 0);
        let request = NetfilterMessage::new(header, ConntrackMessage::Get(Vec::new()));
        netlink::send(&socket, NLM_F_DUMP, sequence, request)
            .and_then(|()| receive(&socket, sequence, &mut counts, &mut take))
            .map_err(failed("list the connections that the kernel tracks"))?;
    }
    Ok(counts)
}

fn receive(
    socket: &Socket,
    sequence: u32,
    counts: &mut Counts,
    take: &mut impl FnMut(Entry),
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(netlink::BUFFER);
    loop {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        for message in netlink::messages(&buffer).map_err(io::Error::other)? {
            if message.sequence != sequence {
                continue;
            }
            if let Some(result) = message.result() {
                return result;
            }
            counts.entries += 1;
            match entry(message.payload, message.kind) {
                Ok(entry) => take(entry),
                Err(Doubt::PickedUp) => counts.picked_up += 1,
                // Nothing to keep: not living, or not understood.
                Err(Doubt::NotLiving | Doubt::Unreadable) => {}
            }
        }
    }
}

fn entry(payload: &[u8], kind: u16) -> Result<Entry, Doubt> {
    let message = NetfilterMessage::parse_with_param(payload, kind);
    match message.map_err(|_| Doubt::Unreadable)?.inner {
        NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) => {
            Entry::of(&attributes)
        }
        _ => Err(Doubt::Unreadable),
    }
}
