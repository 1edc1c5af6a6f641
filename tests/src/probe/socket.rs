//! Sockets of a namespace, for use from outside of it.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, socket,
};
use tokio::net::TcpSocket;

use crate::lab::{Context as _, LabError, Namespace};

/// An unconnected TCP socket for `to`, sending from `from` where that is given.
pub(crate) async fn tcp_socket(
    namespace: &Namespace,
    to: SocketAddr,
    from: Option<IpAddr>,
) -> Result<TcpSocket, LabError> {
    let made = namespace
        .io("open a TCP socket", move || open(to.ip(), from, SockType::Stream, SockProtocol::Tcp));
    Ok(TcpSocket::from_std_stream(TcpStream::from(made.await?)))
}

/// A UDP socket connected to `to`: ICMP errors and replies of other hosts do not interfere.
pub(crate) async fn udp_socket(
    namespace: &Namespace,
    to: SocketAddr,
    from: Option<IpAddr>,
) -> Result<tokio::net::UdpSocket, LabError> {
    connected(namespace, to, from, SockProtocol::Udp).await
}

/// An ICMP or ICMPv6 echo socket connected to `to`. The kernel writes identifier and checksum, and
/// delivers only the replies to this socket's requests.
pub(crate) async fn ping_socket(
    namespace: &Namespace,
    to: IpAddr,
    from: Option<IpAddr>,
) -> Result<tokio::net::UdpSocket, LabError> {
    let protocol = if to.is_ipv4() { SockProtocol::Icmp } else { SockProtocol::IcmpV6 };
    connected(namespace, SocketAddr::new(to, 0), from, protocol).await
}

async fn connected(
    namespace: &Namespace,
    to: SocketAddr,
    from: Option<IpAddr>,
    protocol: SockProtocol,
) -> Result<tokio::net::UdpSocket, LabError> {
    let open = move || {
        // For the standard library, every datagram socket is a UdpSocket.
        let socket = UdpSocket::from(open(to.ip(), from, SockType::Datagram, protocol)?);
        socket.connect(to)?;
        Ok(socket)
    };
    let socket = namespace.io("open a datagram socket", open).await?;
    tokio::net::UdpSocket::from_std(socket).context("use a datagram socket")
}

fn open(
    to: IpAddr,
    from: Option<IpAddr>,
    kind: SockType,
    protocol: SockProtocol,
) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, kind, flags, protocol)?;
    if let Some(from) = from {
        bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0)))?;
    }
    Ok(fd)
}
