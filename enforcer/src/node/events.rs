//! Events: changes in this network namespace and in the pods'.

use std::collections::BTreeSet;
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;

use netlink_sys::Socket;
use nix::errno::Errno;
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, NetlinkAddr, recvmsg, setsockopt};
use tokio::io::unix::AsyncFd;

use super::NodeError;
use super::message;
use crate::netlink;

/// The size of the queue of events, in bytes. If it overflows, everything is listed again.
const QUEUE: usize = 1 << 20;

/// The remembered state that may have changed. This namespace's own interfaces and addresses are
/// not remembered: they are always listed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stale {
    /// Whether everything is stale.
    pub(super) all: bool,
    /// The ids of stale namespaces.
    pub(super) namespaces: BTreeSet<i32>,
}

impl Stale {
    /// Marks everything as stale.
    pub(super) fn everything() -> Self {
        Self { all: true, namespaces: BTreeSet::new() }
    }

    /// Marks the state that a datagram of events changes. `namespace`: the id of the namespace that
    /// it comes from, `None` for this one.
    fn note(&mut self, namespace: Option<i32>, datagram: &[u8]) {
        let Ok(messages) = netlink::messages(datagram) else {
            self.all = true;
            self.namespaces.extend(namespace);
            return;
        };
        // Only this namespace's routes matter, and they are always listed.
        if !messages.iter().all(|it| matches!(it.kind, libc::RTM_NEWROUTE | libc::RTM_DELROUTE)) {
            self.namespaces.extend(namespace);
        }
        // An id was assigned or removed in this namespace: the state remembered for it belongs to
        // another namespace.
        let ids = messages.iter().filter(|it| {
            namespace.is_none() && matches!(it.kind, libc::RTM_NEWNSID | libc::RTM_DELNSID)
        });
        for id in ids {
            match message::namespace_id(id.payload) {
                Ok(id) => self.namespaces.extend(id),
                Err(_) => self.all = true,
            }
        }
    }
}

/// A socket that receives events about interfaces, addresses and namespace ids.
pub(super) struct Events {
    socket: AsyncFd<Socket>,
    buffer: Vec<u8>,
}

impl Events {
    /// Opens the socket in the network namespace of the calling thread, within a tokio runtime.
    pub(super) fn open() -> Result<Self, NodeError> {
        let failed = |what| move |source| NodeError::Socket { what, source };
        let socket = open().map_err(failed("subscribe to netlink events"))?;
        socket
            .set_listen_all_namespaces(true)
            .map_err(failed("subscribe to the events of other namespaces (CAP_NET_BROADCAST)"))?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, and only requires a descriptor that stays open and \
                      does not change: netlink_sys::Socket guarantees that"
        )]
        let socket = AsyncFd::new(socket).map_err(failed("wait for netlink events"))?;
        Ok(Self { socket, buffer: vec![0; 1 << 16] })
    }

    /// Waits until there are events.
    pub(super) async fn wait(&mut self, stale: &mut Stale) -> Result<(), NodeError> {
        loop {
            let ready = self.socket.readable().await;
            let mut guard = ready.map_err(receiving)?;
            // Not `try_io`: an overflow is an event, too.
            match receive(guard.get_inner(), &mut self.buffer, stale) {
                Ok(true) => return Ok(()),
                Ok(false) => guard.clear_ready(),
                Err(error) => return Err(receiving(error)),
            }
        }
    }

    /// Reads the events that have arrived, without waiting.
    pub(super) fn drain(&mut self, stale: &mut Stale) -> Result<(), NodeError> {
        while receive(self.socket.get_ref(), &mut self.buffer, stale).map_err(receiving)? {}
        Ok(())
    }
}

fn receiving(source: io::Error) -> NodeError {
    NodeError::Socket { what: "receive netlink events", source }
}

fn open() -> io::Result<Socket> {
    let socket = netlink::open()?;
    socket.set_non_blocking(true)?;
    // A larger queue only saves work: an overflow is detected and repaired.
    let _ = setsockopt(&socket, RcvBufForce, &QUEUE);
    for group in [
        libc::RTNLGRP_LINK,
        libc::RTNLGRP_IPV4_IFADDR,
        libc::RTNLGRP_IPV6_IFADDR,
        libc::RTNLGRP_IPV4_ROUTE,
        libc::RTNLGRP_IPV6_ROUTE,
        libc::RTNLGRP_NSID,
    ] {
        socket.add_membership(group)?;
    }
    Ok(socket)
}

/// Reads one datagram; returns whether there was one.
fn receive(socket: &Socket, buffer: &mut [u8], stale: &mut Stale) -> io::Result<bool> {
    let mut ancillary = nix::cmsg_space!(i32);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let got = recvmsg::<NetlinkAddr>(socket.as_raw_fd(), &mut parts, Some(&mut ancillary), flags);
    let (namespace, length) = match got {
        Ok(got) if got.flags.contains(MsgFlags::MSG_TRUNC) => {
            stale.all = true;
            return Ok(true);
        }
        Ok(got) => (namespace_of(got.cmsgs()?), got.bytes),
        Err(Errno::EAGAIN) => return Ok(false),
        Err(Errno::EINTR) => return Ok(true),
        Err(Errno::ENOBUFS) => {
            tracing::debug!("netlink events were lost: everything is listed again");
            stale.all = true;
            return Ok(true);
        }
        Err(error) => return Err(error.into()),
    };
    stale.note(namespace, buffer.get(..length).unwrap_or_default());
    Ok(true)
}

/// The namespace id in the control messages of a datagram.
fn namespace_of(messages: impl Iterator<Item = ControlMessageOwned>) -> Option<i32> {
    messages.into_iter().find_map(|message| match message {
        ControlMessageOwned::Unknown(it)
            if it.cmsg_header.cmsg_level == libc::SOL_NETLINK
                && it.cmsg_header.cmsg_type == libc::NETLINK_LISTEN_ALL_NSID =>
        {
            it.data_bytes.first_chunk().copied().map(i32::from_ne_bytes)
        }
        _ => None,
    })
}
