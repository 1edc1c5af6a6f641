//! Hearing of changes, in this namespace and in the pods'.

use std::collections::BTreeSet;
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, NetlinkAddr, recvmsg, setsockopt};
use tokio::io::unix::AsyncFd;

use super::NodeError;
use super::message;

/// Room for the events of a burst; beyond it everything is looked at anew.
const QUEUE: usize = 1 << 20;

/// What may have changed since the last look. This namespace's own interfaces and addresses are
/// looked at anyway.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stale {
    /// Nothing that is remembered may be used.
    pub(super) all: bool,
    /// What is remembered of these namespaces may not be used.
    pub(super) namespaces: BTreeSet<i32>,
}

impl Stale {
    /// Nothing is known.
    pub(super) fn everything() -> Self {
        Self { all: true, namespaces: BTreeSet::new() }
    }

    /// Notes what a datagram of events says. `namespace`: the id of the namespace that it comes
    /// from, `None` for this one.
    fn note(&mut self, namespace: Option<i32>, datagram: &[u8]) {
        self.namespaces.extend(namespace);
        let Ok(messages) = message::messages(datagram) else {
            self.all = true;
            return;
        };
        // An id that was given or taken away in this namespace: what was remembered under it
        // belonged to another namespace.
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

/// A socket that hears of interfaces, addresses and namespace ids coming and going.
pub(super) struct Events {
    socket: AsyncFd<Socket>,
    buffer: Vec<u8>,
}

impl Events {
    /// Opens the socket in the network namespace of the calling thread, within a runtime.
    pub(super) fn open() -> Result<Self, NodeError> {
        let failed = |what| move |source| NodeError::Socket { what, source };
        let socket = open().map_err(failed("subscribe to netlink events"))?;
        socket
            .set_listen_all_namespaces(true)
            .map_err(failed("subscribe to the events of other namespaces (CAP_NET_BROADCAST)"))?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, and asks only for a descriptor that stays open and \
                      the same as long as its owner: netlink_sys::Socket keeps that"
        )]
        let socket = AsyncFd::new(socket).map_err(failed("wait for netlink events"))?;
        Ok(Self { socket, buffer: vec![0; 1 << 16] })
    }

    /// Waits until there are events.
    pub(super) async fn wait(&mut self, stale: &mut Stale) -> Result<(), NodeError> {
        loop {
            let ready = self.socket.readable().await;
            let mut guard = ready.map_err(receiving)?;
            // Not try_io: an overrun is an event, too.
            match receive(guard.get_inner(), &mut self.buffer, stale) {
                Ok(true) => return Ok(()),
                Ok(false) => guard.clear_ready(),
                Err(error) => return Err(receiving(error)),
            }
        }
    }

    /// Takes the events that are there already.
    pub(super) fn drain(&mut self, stale: &mut Stale) -> Result<(), NodeError> {
        while receive(self.socket.get_ref(), &mut self.buffer, stale).map_err(receiving)? {}
        Ok(())
    }
}

fn receiving(source: io::Error) -> NodeError {
    NodeError::Socket { what: "receive netlink events", source }
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.set_non_blocking(true)?;
    // A larger queue only saves work: an overrun is noticed and repaired.
    let _ = setsockopt(&socket, RcvBufForce, &QUEUE);
    socket.bind_auto()?;
    for group in [
        libc::RTNLGRP_LINK,
        libc::RTNLGRP_IPV4_IFADDR,
        libc::RTNLGRP_IPV6_IFADDR,
        libc::RTNLGRP_NSID,
    ] {
        socket.add_membership(group)?;
    }
    Ok(socket)
}

/// Takes one datagram; whether there was one.
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
            tracing::debug!("netlink events were lost: looking at everything anew");
            stale.all = true;
            return Ok(true);
        }
        Err(error) => return Err(error.into()),
    };
    stale.note(namespace, buffer.get(..length).unwrap_or_default());
    Ok(true)
}

/// The namespace id that came beside a datagram.
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
