//! Forwards a port of the host's loopback to a port of the node's loopback.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use super::error::Context as _;
use super::{LabError, Namespace};
use crate::probe::socket::tcp_socket;

/// Connects each client of `listener` with `inside`, an address in the node's namespace. While
/// nothing listens there, clients are disconnected. Returns only on failure.
pub async fn forward(
    node: &Namespace,
    listener: &TcpListener,
    inside: SocketAddr,
) -> Result<(), LabError> {
    loop {
        let accepted = listener.accept().await;
        let (client, _) = accepted.context("accept a client")?;
        let socket = tcp_socket(node, inside, None).await?;
        tokio::spawn(async move {
            if let Ok(server) = socket.connect(inside).await {
                splice(client, server).await;
            }
        });
    }
}

async fn splice(mut client: TcpStream, mut server: TcpStream) {
    let _ = copy_bidirectional(&mut client, &mut server).await;
}
