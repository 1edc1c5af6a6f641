//! The clsact qdisc: programs are attached to it where the kernel has no TCX.

use std::fs;
use std::io;
use std::path::Path;

use aya::programs::tc::{TcError, qdisc_add_clsact};
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcHandle, TcMessage};
use netlink_sys::Socket;

use super::KernelError;
use super::pins;
use crate::netlink;

/// The ending of the name of a qdisc's marker folder.
pub(super) const MARKER: &str = "qdisc";

/// A clsact qdisc that an agent added. Dropping it removes the qdisc, unless it has filters of
/// others by then: removing the qdisc would remove these, too.
#[derive(Debug)]
pub(super) struct Clsact {
    ifindex: u32,
    /// Whether the qdisc outlives the agent.
    is_pinned: bool,
}

impl Clsact {
    /// Adds a clsact qdisc to the interface; `None` if it has one already, which is not ours.
    pub(super) fn add(interface: &str, ifindex: u32) -> Result<Option<Self>, KernelError> {
        match qdisc_add_clsact(interface) {
            Ok(()) => Ok(Some(Self { ifindex, is_pinned: false })),
            Err(error) if already_exists(&error) => Ok(None),
            Err(source) => Err(KernelError::Qdisc { interface: interface.to_owned(), source }),
        }
    }

    /// The same for a qdisc that outlives the agent; a marker folder in `links` identifies it.
    pub(super) fn add_pinned(
        interface: &str,
        ifindex: u32,
        links: &Path,
    ) -> Result<Option<Self>, KernelError> {
        let marker = links.join(marker(ifindex));
        match Self::add(interface, ifindex)? {
            Some(mut added) => {
                added.is_pinned = true;
                pins::make(&marker)?;
                Ok(Some(added))
            }
            None => Ok(marker.exists().then_some(Self { ifindex, is_pinned: true })),
        }
    }

    /// The qdisc of an interface for which there is a marker.
    pub(super) fn of_marker(ifindex: u32) -> Self {
        Self { ifindex, is_pinned: true }
    }

    /// Removes a qdisc that outlives the agent, unless others use it, and its marker.
    pub(super) fn remove(mut self, links: &Path) {
        self.is_pinned = false;
        let marker = links.join(marker(self.ifindex));
        drop(self);
        if let Err(error) = fs::remove_dir(&marker) {
            tracing::debug!(marker = %marker.display(), %error, "cannot remove a marker");
        }
    }

    fn remove_if_unused(&self) -> io::Result<()> {
        let socket = netlink::open()?;
        for minor in [TcHandle::MIN_INGRESS, TcHandle::MIN_EGRESS] {
            let hook = TcHandle { minor, ..TcHandle::CLSACT };
            let list = RouteNetlinkMessage::GetTrafficFilter(self.message(hook, TcHandle::UNSPEC)?);
            if request(&socket, list, NLM_F_DUMP)? > 0 {
                return Ok(());
            }
        }
        // A filter that is added at this moment is lost: netlink has no "remove if empty".
        let qdisc = self.message(TcHandle::CLSACT, TcHandle { minor: 0, ..TcHandle::CLSACT })?;
        request(&socket, RouteNetlinkMessage::DelQueueDiscipline(qdisc), NLM_F_ACK).map(|_| ())
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
        if self.is_pinned {
            return;
        }
        // The interface may be gone, and its qdisc with it. A qdisc that stays is harmless.
        if let Err(error) = self.remove_if_unused() {
            tracing::debug!(ifindex = self.ifindex, %error, "cannot remove the clsact qdisc");
        }
    }
}

/// The name of the marker folder for the qdisc of an interface.
fn marker(ifindex: u32) -> String {
    format!("{ifindex}-{MARKER}")
}

/// Sends a request; returns the number of objects in the answer.
fn request(socket: &Socket, message: RouteNetlinkMessage, flags: u16) -> io::Result<usize> {
    netlink::send(socket, flags, 0, message)?;
    let mut listed = 0;
    let mut buffer = Vec::with_capacity(netlink::BUFFER);
    loop {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        for message in netlink::messages(&buffer).map_err(io::Error::other)? {
            match message.result() {
                Some(result) => return result.map(|()| listed),
                None => listed += 1,
            }
        }
    }
}

/// Whether a qdisc or filter was not added because there is one already.
pub(super) fn already_exists(error: &TcError) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::AlreadyExists;
        }
        source = error.source();
    }
    false
}
