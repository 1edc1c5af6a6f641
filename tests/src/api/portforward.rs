//! `portforward`: a connection to a port of a pod, through a WebSocket.
//!
//! As the kubelet does (kubernetes/kubernetes,
//! `staging/src/k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go`): each port has two channels, data
//! and error. The first message of each has the port, little-endian; errors are text. The connection ends
//! with the forwarded one.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::request::Parts;
use axum::http::{Response, header};
use axum::response::IntoResponse;
use futures::future::BoxFuture;
use futures::{FutureExt, SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::key::Key;
use super::object;
use super::request::{Request, text_of};
use super::status::Refusal;
use super::tunnel;

const DATA: u8 = 0;
const ERROR: u8 = 1;

/// The kubelet also supports messages in base64.
const PROTOCOL: &str = "v4.channel.k8s.io";

/// The largest message in bytes.
const PORTION: usize = 32 << 10;

type Connect = dyn Fn(&Value, u16) -> BoxFuture<'static, io::Result<TcpStream>> + Send + Sync;

/// Connects to a pod's port.
#[derive(Clone)]
pub struct Forwarder(Arc<Connect>);

impl Forwarder {
    /// A forwarder to addresses of this network namespace; `None`: nothing listens.
    pub fn new(target: impl Fn(&Key, u16) -> Option<SocketAddr> + Send + Sync + 'static) -> Self {
        Self::by(move |pod, port| {
            let target = target(&object::key(pod), port);
            async move { TcpStream::connect(target.ok_or(io::ErrorKind::ConnectionRefused)?).await }
                .boxed()
        })
    }

    /// A forwarder that connects by `connect`, whose argument is the pod.
    pub fn by(
        connect: impl Fn(&Value, u16) -> BoxFuture<'static, io::Result<TcpStream>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self(Arc::new(connect))
    }
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forwarder")
    }
}

/// The pod of a session.
#[derive(Debug, Clone)]
pub(super) struct Target {
    forwarder: Forwarder,
    pod: Arc<Value>,
}

impl Target {
    pub(super) fn pod(&self) -> &str {
        object::text(&self.pod, "/metadata/name")
    }

    pub(super) async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        (self.forwarder.0)(&self.pod, port).await
    }
}

/// Answers the request: for one port in the kubelet's protocol, or for any ports in SPDY.
pub(crate) async fn forward(
    forwarder: Option<&Forwarder>,
    request: &Request,
    pod: Arc<Value>,
    parts: &mut Parts,
) -> Result<Response<Body>, Refusal> {
    let bad = |message: &str| Refusal::bad_request(message);
    let forwarder = forwarder.ok_or_else(|| bad("the pods run nowhere: there is no lab"))?;
    if pod["status"]["phase"] != "Running" {
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        return Err(bad(&format!(
            "unable to forward port because pod is not running. Current status={phase}"
        )));
    }
    let target = Target { forwarder: forwarder.clone(), pod };
    let offered = text_of(&parts.headers, header::SEC_WEBSOCKET_PROTOCOL.as_str());
    let upgrade = WebSocketUpgrade::from_request_parts(parts, &())
        .await
        .map_err(|_| bad("only WebSockets are supported: use kubectl 1.31 or later"))?;
    if offered.split(',').any(|it| it.trim() == tunnel::PROTOCOL) {
        let upgrade = upgrade.protocols([tunnel::PROTOCOL]);
        let response = upgrade.on_upgrade(async move |socket| tunnel::serve(socket, target).await);
        return Ok(response.into_response());
    }
    let port = request.query.get("ports").parse::<u16>();
    let port = port.map_err(|_| bad("query parameter \"port\" is required"))?;
    let response = upgrade.protocols([PROTOCOL]).on_upgrade(async move |mut socket| {
        if let Err(error) = serve(&mut socket, port, &target).await {
            let why = format!("error forwarding port {port} to pod {}: {error}", target.pod());
            let _ = socket.send(message(ERROR, why.as_bytes())).await;
        }
        let _ = socket.send(Message::Close(None)).await;
    });
    Ok(response.into_response())
}

async fn serve(socket: &mut WebSocket, port: u16, target: &Target) -> io::Result<()> {
    for channel in [DATA, ERROR] {
        let hello = message(channel, &port.to_le_bytes());
        socket.send(hello).await.map_err(io::Error::other)?;
    }
    let (mut reader, mut writer) = target.connect(port).await?.into_split();
    let (mut sink, mut messages) = socket.split();
    let mut buffer = vec![0; PORTION];
    loop {
        tokio::select! {
            read = reader.read(&mut buffer) => match read? {
                0 => return Ok(()),
                length => {
                    let portion = buffer.get(..length).unwrap_or_default();
                    sink.send(message(DATA, portion)).await.map_err(io::Error::other)?;
                }
            },
            received = messages.next() => match received {
                Some(Ok(Message::Binary(bytes))) => match bytes.split_first() {
                    Some((&DATA, sent)) => writer.write_all(sent).await?,
                    _ => continue,
                },
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                Some(Ok(_)) => {}
            },
        }
    }
}

fn message(channel: u8, portion: &[u8]) -> Message {
    let bytes = std::iter::once(channel).chain(portion.iter().copied());
    Message::Binary(Bytes::from_iter(bytes))
}
