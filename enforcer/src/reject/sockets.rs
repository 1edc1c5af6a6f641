//! Raw sockets that send whole IP packets.

use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto,
    socket,
};

use super::answer::Answer;

/// A socket for each address family. They only send: `IPPROTO_RAW` receives nothing (raw(7)).
#[derive(Debug)]
pub struct Sockets {
    ipv4: OwnedFd,
    /// `None`: the kernel has no IPv6.
    ipv6: Option<OwnedFd>,
}

impl Sockets {
    /// Opens the sockets in the process's network namespace.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`.
    pub fn open() -> Result<Self, Errno> {
        let ipv6 = match raw(AddressFamily::Inet6) {
            Ok(it) => Some(it),
            Err(Errno::EAFNOSUPPORT) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { ipv4: raw(AddressFamily::Inet)?, ipv6 })
    }

    /// Sends an answer. Never waits.
    ///
    /// # Errors
    /// There is no route to the receiver, or the kernel's buffers are full.
    pub fn send(&self, answer: &Answer) -> Result<(), Errno> {
        let Answer { to, packet } = answer;
        let flags = MsgFlags::MSG_DONTWAIT;
        match to {
            IpAddr::V4(to) => {
                let to = SockaddrIn::from(SocketAddrV4::new(*to, 0));
                sendto(self.ipv4.as_raw_fd(), packet, &to, flags)?;
            }
            IpAddr::V6(to) => {
                let socket = self.ipv6.as_ref().ok_or(Errno::EAFNOSUPPORT)?;
                // A port would have to be the protocol's number (raw_sendmsg in Linux, net/ipv6/raw.c).
                let to = SockaddrIn6::from(SocketAddrV6::new(*to, 0, 0, 0));
                sendto(socket.as_raw_fd(), packet, &to, flags)?;
            }
        }
        Ok(())
    }
}

fn raw(family: AddressFamily) -> Result<OwnedFd, Errno> {
    socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)
}
