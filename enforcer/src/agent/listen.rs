//! What listens, and where.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::SharedReconciler;
use crate::observe::{Paths, serve};

/// Where the agent is observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listeners {
    /// Where to serve metrics, health and readiness; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Where to serve the status and the log filter: a loopback address; `None`: nowhere.
    pub status: Option<SocketAddr>,
}

impl Listeners {
    /// Serves until `stop`.
    pub(super) async fn start(
        self,
        shared: &Arc<SharedReconciler>,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let Self { metrics, status } = self;
        if let Some(address) = metrics {
            let all = metrics == status;
            let paths = if all { Paths::All } else { Paths::Metrics };
            listen("--metrics", address, paths, shared, stop).await?;
        }
        if let Some(address) = status.filter(|_| metrics != status) {
            listen("--status", address, Paths::Status, shared, stop).await?;
        }
        Ok(())
    }
}

async fn listen(
    option: &'static str,
    address: SocketAddr,
    paths: Paths,
    shared: &Arc<SharedReconciler>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await;
    let listener =
        listener.with_context(|| format!("cannot listen on {address}: choose another {option}"))?;
    let address = listener.local_addr()?;
    match paths {
        Paths::All => tracing::info!("metrics and status on http://{address}/metrics and /status"),
        Paths::Metrics => tracing::info!("metrics on http://{address}/metrics"),
        Paths::Status => tracing::info!("status on http://{address}/status"),
    }
    let serving = serve(listener, paths, Arc::clone(shared), stop.clone().cancelled_owned());
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!("the server on {address} stopped: {error}");
        }
    });
    Ok(())
}
