//! Attempts real connections between the lab's parties. The choice of connections and their
//! expected outcome belong to [`matrix`](crate::matrix).

pub(crate) mod socket;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use enforcer_core::model::Protocol;
use enforcer_core::policy::reference::Traffic;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;

use crate::lab::{Family, Lab, LabError, Namespace, Party, read_hello};

/// The time after which a packet counts as dropped. It is shorter than the second after which a TCP
/// SYN is sent again, so a drop and a loss look the same.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_millis(300);

/// The outcome of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The right party answered.
    Open,
    /// The attempt was refused: a reset, or an ICMP error.
    Refused,
    /// No answer came in time.
    TimedOut,
    /// The attempt itself failed, or the wrong party answered.
    Error(String),
}

/// An attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The sender.
    pub from: Party,
    /// The receiver.
    pub to: Party,
    /// The family of the addresses.
    pub family: Family,
    /// Protocol and port; [`Traffic::Portless`] is an echo request.
    pub traffic: Traffic,
}

impl Probe {
    /// Makes the attempt.
    ///
    /// # Errors
    /// A party does not exist, or no socket can be opened; never the outcome of the attempt.
    pub async fn run(&self, lab: &Lab, patience: Duration) -> Result<Outcome, LabError> {
        let to = lab.address(&self.to, self.family)?;
        let namespace = lab.namespace(&self.from)?;
        let from = self.source(lab)?;
        let attempt = async {
            match self.traffic {
                Traffic::Port(Protocol::Tcp, port) => {
                    let at = SocketAddr::new(to, port);
                    Ok(match page(namespace, at, from).await? {
                        Ok(page) if page.by == self.to.to_string() => Outcome::Open,
                        Ok(page) => Outcome::Error(format!("{} answered", page.by)),
                        Err(outcome) => outcome,
                    })
                }
                Traffic::Port(Protocol::Udp, port) => {
                    let at = SocketAddr::new(to, port);
                    let socket = socket::udp_socket(namespace, at, from).await;
                    exchange(socket, b"anybody there?", <[u8]>::eq).await
                }
                Traffic::Port(Protocol::Sctp, _) => {
                    Ok(Outcome::Error("the lab has no SCTP sockets".to_owned()))
                }
                Traffic::Portless => ping(namespace, to, from).await,
            }
        };
        timeout(patience, attempt).await.unwrap_or(Ok(Outcome::TimedOut))
    }

    /// The source address. A node chooses it itself: it has one address per interface.
    pub(crate) fn source(&self, lab: &Lab) -> Result<Option<IpAddr>, LabError> {
        match self.from {
            Party::Node | Party::OtherNode(_) => Ok(None),
            _ => lab.address(&self.from, self.family).map(Some),
        }
    }
}

/// The content of a hello page.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Page {
    /// The name of the server's [`Party`].
    pub by: String,
    /// The client's address at the server.
    pub client: IpAddr,
}

/// Fetches the page at `to` from any server.
///
/// # Errors
/// No socket can be opened; the inner result is the outcome of the attempt.
pub async fn fetch(
    namespace: &Namespace,
    to: SocketAddr,
    from: Option<IpAddr>,
    patience: Duration,
) -> Result<Result<Page, Outcome>, LabError> {
    let answer = timeout(patience, page(namespace, to, from)).await;
    answer.unwrap_or(Ok(Err(Outcome::TimedOut)))
}

/// The same without a time limit.
async fn page(
    namespace: &Namespace,
    to: SocketAddr,
    from: Option<IpAddr>,
) -> Result<Result<Page, Outcome>, LabError> {
    let socket = socket::tcp_socket(namespace, to, from).await?;
    Ok(match get(socket, to, "/").await {
        Err(error) => Err(outcome_of(&error)),
        Ok(reply) => read_hello(&reply)
            .map(|(by, client)| Page { by, client })
            .ok_or_else(|| Outcome::Error(format!("an unexpected reply: {reply:?}"))),
    })
}

/// The HTTP status of a page; `None`: no answer.
pub async fn http_status(
    namespace: &Namespace,
    at: SocketAddr,
    path: &str,
) -> Result<Option<u16>, LabError> {
    let reply = http_get(namespace, at, path, DEFAULT_TIMEOUT).await?;
    Ok(reply.and_then(|it| it.split(' ').nth(1)?.parse().ok()))
}

/// The whole answer of a server; `None`: there is none in time.
pub async fn http_get(
    namespace: &Namespace,
    at: SocketAddr,
    path: &str,
    patience: Duration,
) -> Result<Option<String>, LabError> {
    let socket = socket::tcp_socket(namespace, at, None).await?;
    let reply = timeout(patience, get(socket, at, path)).await;
    Ok(reply.ok().and_then(Result::ok))
}

async fn get(socket: TcpSocket, at: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = socket.connect(at).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    Ok(reply)
}

async fn ping(
    namespace: &Namespace,
    to: IpAddr,
    from: Option<IpAddr>,
) -> Result<Outcome, LabError> {
    // RFC 792 and RFC 4443: type, code, checksum, identifier, sequence number, data.
    let (request, reply) = if to.is_ipv4() { (8, 0) } else { (128, 129) };
    let message = [request, 0, 0, 0, 0, 0, 0, 1, b'e', b'c', b'h', b'o'];
    let socket = socket::ping_socket(namespace, to, from).await;
    let is_reply =
        |sent: &[u8], got: &[u8]| got.first() == Some(&reply) && got.get(6..) == sent.get(6..);
    exchange(socket, &message, is_reply).await
}

/// Sends one datagram and waits for the reply to it.
async fn exchange(
    socket: Result<UdpSocket, LabError>,
    message: &[u8],
    is_reply: impl Fn(&[u8], &[u8]) -> bool,
) -> Result<Outcome, LabError> {
    let socket = match socket {
        // A route or policy that forbids sending is an outcome, not a failure of the lab.
        Err(LabError::Io { source, .. }) if outcome_of(&source) == Outcome::Refused => {
            return Ok(Outcome::Refused);
        }
        other => other?,
    };
    let talk = async {
        socket.send(message).await?;
        let mut buffer = [0; 2048];
        let length = socket.recv(&mut buffer).await?;
        io::Result::Ok(buffer.get(..length).unwrap_or_default().to_vec())
    };
    Ok(match talk.await {
        Ok(reply) if is_reply(message, &reply) => Outcome::Open,
        Ok(reply) => Outcome::Error(format!("an unexpected reply: {reply:?}")),
        Err(error) => outcome_of(&error),
    })
}

fn outcome_of(error: &io::Error) -> Outcome {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused
        | Kind::ConnectionReset
        | Kind::HostUnreachable
        | Kind::NetworkUnreachable
        | Kind::PermissionDenied => Outcome::Refused,
        Kind::TimedOut => Outcome::TimedOut,
        _ => Outcome::Error(error.to_string()),
    }
}
