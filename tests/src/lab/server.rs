//! The servers of the lab's parties: a hello page on TCP ports, an echo on UDP ports.

use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Uri;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::task::JoinSet;

use super::error::Context as _;
use super::{AccessLog, LabError, Namespace};

/// The TCP port of outside clients and nodes.
pub(crate) const SERVICE_TCP: u16 = 80;
/// The UDP port of outside clients and nodes.
const SERVICE_UDP: u16 = 53;

/// The ports that a party serves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ports {
    /// TCP ports, each with the hello page.
    pub tcp: Vec<u16>,
    /// UDP ports, each with an echo.
    pub udp: Vec<u16>,
}

impl Ports {
    /// The ports of nodes and outside clients.
    pub(crate) fn of_hosts() -> Self {
        Self { tcp: vec![SERVICE_TCP], udp: vec![SERVICE_UDP] }
    }

    /// The ports without those of `others`.
    pub(crate) fn without(&self, others: &Self) -> Self {
        let rest = |ports: &[u16], others: &[u16]| {
            ports.iter().copied().filter(|port| !others.contains(port)).collect()
        };
        Self { tcp: rest(&self.tcp, &others.tcp), udp: rest(&self.udp, &others.udp) }
    }
}

/// Running servers; they stop when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    tasks: JoinSet<()>,
    log: Option<AccessLog>,
}

/// The server and the client that a hello page names.
pub(crate) fn read_hello(page: &str) -> Option<(String, IpAddr)> {
    let by = page.lines().find_map(|line| line.strip_prefix("Hello from "))?;
    let words = page.lines().find_map(|line| line.strip_prefix("You are "))?;
    let client = words.split(' ').next()?.parse().ok()?;
    Some((by.to_owned(), client))
}

impl Servers {
    /// Serves `ports` on each of `addresses`, which belong to `namespace`. Each socket is bound to
    /// a single address, so that replies come from the requested address.
    pub(crate) async fn start(
        namespace: &Namespace,
        name: &str,
        addresses: &[IpAddr],
        ports: &Ports,
    ) -> Result<Self, LabError> {
        let mut servers = Self::default();
        servers.serve(namespace, name, addresses, ports).await?;
        Ok(servers)
    }

    /// No servers yet; later ones note their requests.
    pub(crate) fn noting(log: Option<AccessLog>) -> Self {
        Self { tasks: JoinSet::new(), log }
    }

    /// Starts further servers.
    pub(crate) async fn serve(
        &mut self,
        namespace: &Namespace,
        name: &str,
        addresses: &[IpAddr],
        ports: &Ports,
    ) -> Result<(), LabError> {
        if let Some(log) = &self.log {
            log.begin(name, &ports.to_string());
        }
        for &address in addresses {
            for &port in &ports.tcp {
                let at = SocketAddr::new(address, port);
                let listener = namespace
                    .io(&format!("listen on TCP {at}"), move || nonblocking_listener(at))
                    .await?;
                let listener = tokio::net::TcpListener::from_std(listener).context("listen")?;
                let log = self.log.clone();
                self.tasks.spawn(pages(listener, name.to_owned(), at, log));
            }
            for &port in &ports.udp {
                let at = SocketAddr::new(address, port);
                let socket = namespace
                    .io(&format!("bind UDP {at}"), move || {
                        let socket = UdpSocket::bind(at)?;
                        socket.set_nonblocking(true)?;
                        Ok(socket)
                    })
                    .await?;
                let socket = tokio::net::UdpSocket::from_std(socket).context("bind")?;
                self.tasks.spawn(echo(socket));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tcp = self.tcp.iter().map(|it| format!("TCP {it}"));
        let udp = self.udp.iter().map(|it| format!("UDP {it}"));
        f.write_str(&tcp.chain(udp).collect::<Vec<_>>().join(", "))
    }
}

fn nonblocking_listener(at: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(at)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn pages(
    listener: tokio::net::TcpListener,
    name: String,
    at: SocketAddr,
    log: Option<AccessLog>,
) {
    let page = move |ConnectInfo(client): ConnectInfo<SocketAddr>, uri: Uri| async move {
        if let Some(log) = &log {
            log.note(&name, client.ip(), &format!("GET {} at {at}", uri.path()));
        }
        let text = format!("Hello from {name}\nYou are {} and asked {at}.", client.ip());
        ([(CONTENT_TYPE, "text/html")], format!("<!DOCTYPE html>\n<pre>\n{text}\n</pre>\n"))
    };
    let router = Router::new().fallback(get(page));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let _ = axum::serve(listener, service).into_future().await;
}

async fn echo(socket: tokio::net::UdpSocket) {
    let mut buffer = vec![0; 2048];
    loop {
        // An ICMP error about an earlier reply is reported here; it does not concern the next
        // request.
        if let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let reply = buffer.get(..length).unwrap_or_default();
            let _ = socket.send_to(reply, client).await;
        }
    }
}
