//! Notifications about filters and qdiscs. The kernel sends none about TCX links.

use std::collections::BTreeSet;
use std::io;

use netlink_sys::Socket;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use tokio::io::unix::AsyncFd;

use super::hooks::Scope;
use super::traffic_control::Message;
use crate::netlink;

/// The size of the queue of notifications, in bytes. If it overflows, all hooks are verified.
const QUEUE: usize = 1 << 20;

/// A socket that receives notifications about the hooks of this network namespace.
pub struct HookEvents {
    socket: AsyncFd<Socket>,
}

impl HookEvents {
    /// Opens the socket in the network namespace of the calling thread, within a tokio runtime.
    ///
    /// # Errors
    /// The socket can't be opened.
    pub fn open() -> io::Result<Self> {
        let socket = netlink::open()?;
        socket.set_non_blocking(true)?;
        // A larger queue only saves work: an overflow is detected.
        let _ = setsockopt(&socket, RcvBufForce, &QUEUE);
        socket.add_membership(libc::RTNLGRP_TC)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, and only requires a descriptor that stays open and \
                      does not change: netlink_sys::Socket guarantees that"
        )]
        let socket = AsyncFd::new(socket)?;
        Ok(Self { socket })
    }

    /// Waits until hooks may have changed; returns which. Nothing is lost if this is dropped.
    ///
    /// # Errors
    /// The socket can't be read.
    pub async fn changed(&mut self) -> io::Result<Scope> {
        loop {
            let mut guard = self.socket.readable().await?;
            // Not `try_io`: an overflow is a notification, too.
            match drain(guard.get_inner())? {
                Scope::Interfaces(some) if some.is_empty() => guard.clear_ready(),
                changed => return Ok(changed),
            }
        }
    }
}

/// Reads the notifications that have arrived.
fn drain(socket: &Socket) -> io::Result<Scope> {
    let mut interfaces = BTreeSet::new();
    let mut all = false;
    let mut buffer = Vec::with_capacity(netlink::BUFFER);
    loop {
        buffer.clear();
        match socket.recv(&mut buffer, 0) {
            Ok(_) => all |= !note(&mut interfaces, &buffer),
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) if all => return Ok(Scope::All),
                Some(libc::EAGAIN) => return Ok(Scope::Interfaces(interfaces)),
                Some(libc::ENOBUFS) => all = true,
                Some(libc::EINTR) => {}
                _ => return Err(error),
            },
        }
    }
}

/// Notes the interfaces of a datagram; returns `false` if they can't be read.
fn note(interfaces: &mut BTreeSet<u32>, datagram: &[u8]) -> bool {
    let Ok(messages) = netlink::messages(datagram) else { return false };
    for message in messages {
        if !matches!(
            message.kind,
            libc::RTM_NEWQDISC | libc::RTM_DELQDISC | libc::RTM_NEWTFILTER | libc::RTM_DELTFILTER
        ) {
            continue;
        }
        match Message::parse(message.payload).and_then(|it| it.interface()) {
            Some(ifindex) => _ = interfaces.insert(ifindex),
            // A filter of a block that several interfaces share.
            None => return false,
        }
    }
    true
}
