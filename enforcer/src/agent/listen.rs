//! The HTTP servers of the agent.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::descriptors;
use super::options::Listeners;
use super::shared::Shared;
use crate::observe::{Limits, Paths, serve};
use crate::page;

/// Starts the servers; they run until `stop`.
pub(super) async fn start(
    Listeners { metrics, status, page }: Listeners,
    shared: &Arc<Shared>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    if let Some(address) = metrics {
        let paths = if metrics == status { Paths::All } else { Paths::Metrics };
        listen("--metrics", address, paths, shared, stop).await?;
    }
    if let Some(address) = status.filter(|_| metrics != status) {
        listen("--status", address, Paths::Status, shared, stop).await?;
    }
    if let Some(address) = page {
        serve_page(address, shared, stop).await?;
    }
    Ok(())
}

async fn bind(option: &'static str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address}: choose another {option}"))
}

async fn serve_page(
    address: SocketAddr,
    shared: &Arc<Shared>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let listener = bind("--page", address).await?;
    let stopped = stop.clone().cancelled_owned();
    let served = page::serve_without_token(listener, super::page::page(shared), stopped)?;
    tracing::info!("web page on {}", served.url);
    tokio::spawn(async move {
        if let Err(error) = served.serving.await {
            tracing::error!("the web page on {address} stopped: {error}");
        }
    });
    Ok(())
}

async fn listen(
    option: &'static str,
    address: SocketAddr,
    paths: Paths,
    shared: &Arc<Shared>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let listener = bind(option, address).await?;
    let address = listener.local_addr()?;
    match paths {
        Paths::All => tracing::info!("metrics and status on http://{address}/metrics and /status"),
        Paths::Metrics => tracing::info!("metrics on http://{address}/metrics"),
        Paths::Status => tracing::info!("status on http://{address}/status"),
    }
    let limits = Limits::of_process(descriptors::limit());
    let stopped = stop.clone().cancelled_owned();
    let serving = serve(listener, paths, Arc::clone(shared), limits, stopped);
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!("the server on {address} stopped: {error}");
        }
    });
    Ok(())
}
