//! Connections to pods' ports.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::net::TcpStream;

use super::key::Key;
use super::object;

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
    pub(super) fn new(forwarder: Forwarder, pod: Arc<Value>) -> Self {
        Self { forwarder, pod }
    }

    pub(super) fn pod(&self) -> &str {
        object::text(&self.pod, "/metadata/name")
    }

    pub(super) async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        (self.forwarder.0)(&self.pod, port).await
    }
}
