//! Connections that live on while policies change under them.

use std::net::SocketAddr;

use enforcer_tests::lab::{Family, Lab, Party};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::scene::PATIENCE;
use crate::support::SILENCE;

/// Where the living connections' servers listen: no port of any pod's.
pub(crate) const PORT: u16 = 7000;

/// Which end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    Client = 0,
    Server = 1,
}

impl End {
    pub(crate) const BOTH: [Self; 2] = [Self::Client, Self::Server];

    fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// A connection with both of its ends, TCP or UDP. What is said is numbered: a byte lost,
/// doubled or out of order is noticed.
pub(crate) struct Living {
    name: String,
    ends: [Socket; 2],
    said: [u64; 2],
    heard: [u64; 2],
}

enum Socket {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

/// A TCP connection and a UDP exchange of each family.
pub(crate) async fn connect_all(lab: &Lab, from: &Party, to: &Party) -> Vec<Living> {
    let mut all = Vec::new();
    for family in Family::ALL {
        all.push(Living::tcp(lab, from, to, family).await);
        all.push(Living::udp(lab, from, to, family, 0).await);
    }
    for living in &mut all {
        living.exchange().await;
    }
    all
}

impl Living {
    pub(crate) async fn tcp(lab: &Lab, from: &Party, to: &Party, family: Family) -> Self {
        let at = SocketAddr::new(lab.address(to, family).unwrap(), PORT);
        Self::tcp_through(lab, from, to, PORT, at).await
    }

    /// A TCP connection to `at`, which is translated to the server's own address and `port`.
    pub(crate) async fn tcp_through(
        lab: &Lab,
        from: &Party,
        to: &Party,
        port: u16,
        at: SocketAddr,
    ) -> Self {
        let family = Family::of(at.ip());
        let own = SocketAddr::new(lab.address(to, family).unwrap(), port);
        let listen = move || {
            let listener = std::net::TcpListener::bind(own)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener = lab.namespace(to).unwrap().io("listen", listen).await.unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let from_address = lab.address(from, family).unwrap();
        let socket = move || {
            let socket = match family {
                Family::V4 => TcpSocket::new_v4()?,
                Family::V6 => TcpSocket::new_v6()?,
            };
            // Clients outside share a namespace.
            socket.bind(SocketAddr::new(from_address, 0))?;
            Ok(socket)
        };
        let client = lab.namespace(from).unwrap().io("open a socket", socket).await.unwrap();
        let client = timeout(PATIENCE, client.connect(at)).await.expect("to connect").unwrap();
        client.set_nodelay(true).unwrap();
        let (server, _) = listener.accept().await.unwrap();
        server.set_nodelay(true).unwrap();
        Self::new(format!("TCP to {at}"), [Socket::Tcp(client), Socket::Tcp(server)])
    }

    /// A UDP exchange; `port` is the client's, 0 leaves it to the kernel.
    pub(crate) async fn udp(
        lab: &Lab,
        from: &Party,
        to: &Party,
        family: Family,
        port: u16,
    ) -> Self {
        let at = SocketAddr::new(lab.address(to, family).unwrap(), PORT);
        let own = SocketAddr::new(lab.address(from, family).unwrap(), port);
        let client = udp_socket(lab, from, own).await;
        let server = udp_socket(lab, to, at).await;
        client.connect(at).await.unwrap();
        server.connect(client.local_addr().unwrap()).await.unwrap();
        Self::new(format!("UDP to {at}"), [Socket::Udp(client), Socket::Udp(server)])
    }

    /// A UDP exchange by way of `at`, which is translated to the server's own address and `port`.
    pub(crate) async fn udp_through(
        lab: &Lab,
        from: &Party,
        to: &Party,
        port: u16,
        at: SocketAddr,
    ) -> Self {
        let family = Family::of(at.ip());
        let client = SocketAddr::new(lab.address(from, family).unwrap(), 0);
        let client = udp_socket(lab, from, client).await;
        let own = SocketAddr::new(lab.address(to, family).unwrap(), port);
        let server = udp_socket(lab, to, own).await;
        client.connect(at).await.unwrap();
        // Only the server can tell what the client looks like to it.
        client.send(b"hello").await.unwrap();
        let mut hello = [0; 8];
        let received = timeout(PATIENCE, server.recv_from(&mut hello)).await;
        server.connect(received.expect("the first datagram").unwrap().1).await.unwrap();
        Self::new(format!("UDP to {at}"), [Socket::Udp(client), Socket::Udp(server)])
    }

    fn new(name: String, ends: [Socket; 2]) -> Self {
        Self { name, ends, said: [0; 2], heard: [0; 2] }
    }

    /// Sends the next number.
    pub(crate) async fn say(&mut self, end: End) {
        let number = &mut self.said[end as usize];
        *number += 1;
        let message = number.to_be_bytes();
        match &mut self.ends[end as usize] {
            Socket::Tcp(stream) => stream.write_all(&message).await.unwrap(),
            Socket::Udp(socket) => assert_eq!(socket.send(&message).await.unwrap(), message.len()),
        }
    }

    /// Waits for the other end's next number.
    pub(crate) async fn hear(&mut self, end: End) {
        let mut message = [0; 8];
        let receive = async {
            match &mut self.ends[end as usize] {
                Socket::Tcp(stream) => stream.read_exact(&mut message).await.map(drop),
                Socket::Udp(socket) => socket.recv(&mut message).await.map(drop),
            }
        };
        let received = timeout(PATIENCE, receive).await;
        let heard = &mut self.heard[end as usize];
        *heard += 1;
        let lost = format!("{}: the {end:?} never heard message {heard}", self.name);
        received.expect(&lost).unwrap();
        assert_eq!(u64::from_be_bytes(message), *heard, "{}: the {end:?} heard", self.name);
    }

    /// One message there and one back.
    pub(crate) async fn exchange(&mut self) {
        for end in End::BOTH {
            self.say(end).await;
            self.hear(end.other()).await;
        }
    }

    /// Both ends speak, and neither may hear anything.
    pub(crate) async fn is_cut(&mut self) {
        for end in End::BOTH {
            self.say(end).await;
        }
        let [client, server] = &self.ends;
        let (client, server) = tokio::join!(hears(client), hears(server));
        assert!(!client, "{}: the client heard the server", self.name);
        assert!(!server, "{}: the server heard the client", self.name);
    }

    /// This end hears nothing of what was said.
    pub(crate) async fn hears_nothing(&mut self, end: End) {
        assert!(!hears(&self.ends[end as usize]).await, "{}: the {end:?} heard", self.name);
    }

    /// After [`Self::is_cut`]: what TCP holds back arrives, what UDP lost stays lost, and both go
    /// on where they were.
    pub(crate) async fn goes_on(&mut self) {
        match self.ends {
            [Socket::Tcp(_), _] => {
                for end in End::BOTH {
                    self.hear(end).await;
                }
            }
            [Socket::Udp(_), _] => self.heard = [self.said[1], self.said[0]],
        }
        self.exchange().await;
    }
}

async fn udp_socket(lab: &Lab, party: &Party, at: SocketAddr) -> UdpSocket {
    let bind = move || {
        let socket = std::net::UdpSocket::bind(at)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    let socket = lab.namespace(party).unwrap().io("bind", bind).await.unwrap();
    UdpSocket::from_std(socket).unwrap()
}

/// Whether anything comes in while silence is waited for.
async fn hears(socket: &Socket) -> bool {
    let mut byte = [0];
    let heard = async {
        match socket {
            Socket::Tcp(stream) => stream.peek(&mut byte).await,
            Socket::Udp(socket) => socket.peek(&mut byte).await,
        }
    };
    timeout(SILENCE, heard).await.is_ok()
}

/// Every connection is cut, both ways.
pub(crate) async fn all_are_cut(connections: &mut [Living]) {
    futures::future::join_all(connections.iter_mut().map(Living::is_cut)).await;
}

/// Every connection goes on.
pub(crate) async fn all_go_on(connections: &mut [Living]) {
    futures::future::join_all(connections.iter_mut().map(Living::goes_on)).await;
}
