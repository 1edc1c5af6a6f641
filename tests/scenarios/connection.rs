//! Connections that stay open while policies change.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use enforcer_tests::lab::{Family, Lab, Party};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::scene::PATIENCE;
use crate::support::{SILENCE, udp_at, udp_socket};

/// The servers' port: no pod's declared port.
pub(crate) const PORT: u16 = 7000;

/// One end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    Client = 0,
    Server = 1,
}

impl End {
    const BOTH: [Self; 2] = [Self::Client, Self::Server];

    fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// Both ends of a connection, TCP or UDP. Messages are numbered, so that a lost, doubled or
/// reordered one fails the test.
pub(crate) struct Connection {
    name: String,
    ends: [Socket; 2],
    sent: [u64; 2],
    received: [u64; 2],
}

enum Socket {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

/// A TCP connection and a UDP exchange of each family.
pub(crate) async fn connect_all(lab: &Lab, from: &Party, to: &Party) -> Vec<Connection> {
    let mut all = Vec::new();
    for family in Family::ALL {
        all.push(Connection::tcp(lab, from, to, family).await);
        all.push(Connection::udp(lab, from, to, family, 0).await);
    }
    exchange_all(&mut all).await;
    all
}

/// One message in each direction of each connection.
pub(crate) async fn exchange_all(connections: &mut [Connection]) {
    for connection in connections {
        connection.exchange().await;
    }
}

/// Binds a listener. A process that another test is just starting keeps a copy of the last listener at
/// this address until it executes its program.
fn listener_at(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    const TRIES: usize = 200;
    for _ in 0..TRIES {
        match std::net::TcpListener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
    std::net::TcpListener::bind(address)
}

impl Connection {
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
            let listener = listener_at(own)?;
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

    /// A UDP exchange from the client's `port`; the kernel assigns port 0.
    pub(crate) async fn udp(
        lab: &Lab,
        from: &Party,
        to: &Party,
        family: Family,
        port: u16,
    ) -> Self {
        let client = udp_at(lab, from, family, port).await;
        let server = udp_at(lab, to, family, PORT).await;
        let at = server.local_addr().unwrap();
        client.connect(at).await.unwrap();
        server.connect(client.local_addr().unwrap()).await.unwrap();
        Self::new(format!("UDP to {at}"), [Socket::Udp(client), Socket::Udp(server)])
    }

    /// A UDP exchange through `at`, which is translated to the server's own address and `port`.
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
        let server = udp_at(lab, to, family, port).await;
        client.connect(at).await.unwrap();
        // Only the server sees the client's translated address.
        client.send(b"hello").await.unwrap();
        let mut hello = [0; 8];
        let received = timeout(PATIENCE, server.recv_from(&mut hello)).await;
        server.connect(received.expect("the first datagram").unwrap().1).await.unwrap();
        Self::new(format!("UDP to {at}"), [Socket::Udp(client), Socket::Udp(server)])
    }

    fn new(name: String, ends: [Socket; 2]) -> Self {
        Self { name, ends, sent: [0; 2], received: [0; 2] }
    }

    /// Sends the next number.
    pub(crate) async fn send(&mut self, end: End) {
        let number = &mut self.sent[end as usize];
        *number += 1;
        let message = number.to_be_bytes();
        match &mut self.ends[end as usize] {
            Socket::Tcp(stream) => stream.write_all(&message).await.unwrap(),
            Socket::Udp(socket) => assert_eq!(socket.send(&message).await.unwrap(), message.len()),
        }
    }

    /// Waits for the other end's next number.
    pub(crate) async fn receive(&mut self, end: End) {
        let mut message = [0; 8];
        let receive = async {
            match &mut self.ends[end as usize] {
                Socket::Tcp(stream) => stream.read_exact(&mut message).await.map(drop),
                Socket::Udp(socket) => socket.recv(&mut message).await.map(drop),
            }
        };
        let outcome = timeout(PATIENCE, receive).await;
        let number = &mut self.received[end as usize];
        *number += 1;
        let lost = format!("{}: message {number} never reached the {end:?}", self.name);
        outcome.expect(&lost).unwrap();
        assert_eq!(u64::from_be_bytes(message), *number, "{}: at the {end:?}", self.name);
    }

    /// One message in each direction. The server sends first: the agent learns nothing from it.
    pub(crate) async fn exchange_from_server(&mut self) {
        for end in [End::Server, End::Client] {
            self.send(end).await;
            self.receive(end.other()).await;
        }
    }

    /// One message in each direction.
    pub(crate) async fn exchange(&mut self) {
        for end in End::BOTH {
            self.send(end).await;
            self.receive(end.other()).await;
        }
    }

    /// Both ends send; neither may receive anything.
    async fn assert_cut(&mut self) {
        for end in End::BOTH {
            self.send(end).await;
        }
        tokio::join!(self.receives_nothing(End::Client), self.receives_nothing(End::Server));
    }

    /// Fails the test if this end receives anything.
    pub(crate) async fn receives_nothing(&self, end: End) {
        let mut byte = [0];
        let receive = async {
            match &self.ends[end as usize] {
                Socket::Tcp(stream) => stream.peek(&mut byte).await,
                Socket::Udp(socket) => socket.peek(&mut byte).await,
            }
        };
        let silent = timeout(SILENCE, receive).await.is_err();
        assert!(silent, "{}: the {end:?} received something", self.name);
    }

    /// After [`Self::assert_cut`]: the messages that TCP has held back arrive, those of UDP stay
    /// lost, and both resume.
    async fn assert_resumed(&mut self) {
        match self.ends {
            [Socket::Tcp(_), _] => {
                for end in End::BOTH {
                    self.receive(end).await;
                }
            }
            [Socket::Udp(_), _] => self.received = [self.sent[1], self.sent[0]],
        }
        self.exchange().await;
    }
}

/// Every connection is cut, in both directions.
pub(crate) async fn all_are_cut(connections: &mut [Connection]) {
    futures::future::join_all(connections.iter_mut().map(Connection::assert_cut)).await;
}

/// Every connection that was cut resumes.
pub(crate) async fn all_resume(connections: &mut [Connection]) {
    futures::future::join_all(connections.iter_mut().map(Connection::assert_resumed)).await;
}
