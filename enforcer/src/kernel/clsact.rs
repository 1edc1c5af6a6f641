//! The qdisc that programs are attached to where the kernel has no TCX.

use std::fs;
use std::io;
use std::path::Path;

use aya::programs::tc::{TcError, qdisc_add_clsact};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, parse_i32,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcHandle, TcMessage};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::KernelError;
use super::pins;

/// More than the kernel puts into one datagram.
const BUFFER: usize = 1 << 16;

/// What the notes of qdiscs end in.
pub(super) const NOTE: &str = "qdisc";

/// A clsact qdisc of our making. Dropping it removes it, unless others have put filters on it
/// meanwhile: removing it would remove these, too.
#[derive(Debug)]
pub(super) struct Clsact {
    ifindex: u32,
    /// Whether it outlives the agent.
    is_kept: bool,
}

impl Clsact {
    /// Gives the interface a clsact qdisc; `None` if it has one already, which isn't ours then.
    pub(super) fn add(interface: &str, ifindex: u32) -> Result<Option<Self>, KernelError> {
        match qdisc_add_clsact(interface) {
            Ok(()) => Ok(Some(Self { ifindex, is_kept: false })),
            Err(error) if already_there(&error) => Ok(None),
            Err(source) => Err(KernelError::Qdisc { interface: interface.to_owned(), source }),
        }
    }

    /// The same for a qdisc that outlives the agent: a note in `links` says whose it is.
    pub(super) fn add_kept(
        interface: &str,
        ifindex: u32,
        links: &Path,
    ) -> Result<Option<Self>, KernelError> {
        let note = links.join(note(ifindex));
        match Self::add(interface, ifindex)? {
            Some(mut added) => {
                added.is_kept = true;
                pins::make(&note)?;
                Ok(Some(added))
            }
            None => Ok(note.exists().then_some(Self { ifindex, is_kept: true })),
        }
    }

    /// The qdisc of which there is a note.
    pub(super) fn of_note(ifindex: u32) -> Self {
        Self { ifindex, is_kept: true }
    }

    /// Removes a qdisc that outlives the agent, unless others use it, and the note of it.
    pub(super) fn give_back(mut self, links: &Path) {
        self.is_kept = false;
        let note = links.join(note(self.ifindex));
        drop(self);
        if let Err(error) = fs::remove_dir(&note) {
            tracing::debug!(note = %note.display(), %error, "the note of a qdisc stays");
        }
    }

    fn remove_if_unused(&self) -> io::Result<()> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        for minor in [TcHandle::MIN_INGRESS, TcHandle::MIN_EGRESS] {
            let hook = TcHandle { minor, ..TcHandle::CLSACT };
            let list = RouteNetlinkMessage::GetTrafficFilter(self.message(hook, TcHandle::UNSPEC)?);
            if ask(&socket, list, NLM_F_DUMP)? > 0 {
                return Ok(());
            }
        }
        // Whoever adds a filter right now loses it. netlink has no "remove if empty".
        let qdisc = self.message(TcHandle::CLSACT, TcHandle { minor: 0, ..TcHandle::CLSACT })?;
        ask(&socket, RouteNetlinkMessage::DelQueueDiscipline(qdisc), NLM_F_ACK).map(|_| ())
    }

    fn message(&self, parent: TcHandle, handle: TcHandle) -> io::Result<TcMessage> {
        let index = i32::try_from(self.ifindex).map_err(io::Error::other)?;
        let mut message = TcMessage::with_index(index);
        message.header.parent = parent;
        message.header.handle = handle;
        Ok(message)
    }
}

impl Drop for Clsact {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        // The interface may be gone, and its qdisc with it. A qdisc that stays is harmless.
        if let Err(error) = self.remove_if_unused() {
            tracing::debug!(ifindex = self.ifindex, %error, "the clsact qdisc was not removed");
        }
    }
}

/// Name of the note that the qdisc of an interface is ours.
fn note(ifindex: u32) -> String {
    format!("{ifindex}-{NOTE}")
}

/// Sends a request, and returns how many things the answer lists.
fn ask(socket: &Socket, request: RouteNetlinkMessage, flags: u16) -> io::Result<usize> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut listed = 0;
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        let mut rest = buffer.as_slice();
        while !rest.is_empty() {
            let answer = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
            if matches!(answer.message_type(), NLMSG_DONE | NLMSG_ERROR) {
                return finished(answer.payload()).map(|()| listed);
            }
            listed += 1;
            let length = usize::try_from(answer.length()).map_err(io::Error::other)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// Both endings carry an error number, negated; 0 for success.
fn finished(payload: &[u8]) -> io::Result<()> {
    let code = payload.get(..4).and_then(|bytes| parse_i32(bytes).ok()).unwrap_or(0);
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code.wrapping_neg())) }
}

/// Whether the kernel says that there is one already.
pub(super) fn already_there(error: &TcError) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::AlreadyExists;
        }
        source = error.source();
    }
    false
}
