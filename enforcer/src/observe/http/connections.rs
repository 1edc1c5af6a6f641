//! The limits on connections: their number, their duration, and the size of a request's head.
//!
//! Pods reach the metrics' port of their node and may open any number of connections. A new one
//! replaces the oldest that has not requested anything yet: a probe sends its request at once.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tower::ServiceExt as _;

/// The limits of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at the same time.
    pub connections: usize,
    /// The time for the head of a request.
    pub head: Duration,
    /// The time for a connection: one request and its answer.
    pub connection: Duration,
}

impl Limits {
    /// The limits of a process that may open this number of files: most are the datapath's.
    #[must_use]
    pub fn of_process(files: u64) -> Self {
        let connections = usize::try_from(files / 16).unwrap_or(usize::MAX).clamp(4, 64);
        Self { connections, head: Duration::from_secs(5), connection: Duration::from_secs(30) }
    }
}

/// The largest head of a request in bytes, and its number of fields.
const HEAD: usize = 16 << 10;
const FIELDS: usize = 64;

/// The pause after a failed accept: probably there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until `shutdown`, then answers pending requests.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let mut shutdown = pin!(shutdown);
    let mut open = Open { all: Vec::new(), tasks: JoinSet::new(), limits };
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = open.tasks.join_next(), if !open.tasks.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => open.add(stream, router.clone()),
                Err(error) => {
                    tracing::debug!("cannot accept a connection: {error}");
                    sleep(PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    open.finish().await;
    Ok(())
}

/// The open connections, the oldest first.
struct Open {
    all: Vec<Connection>,
    tasks: JoinSet<()>,
    limits: Limits,
}

struct Connection {
    task: AbortHandle,
    /// Whether a request has arrived.
    is_busy: Arc<AtomicBool>,
}

impl Connection {
    fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Relaxed)
    }
}

impl Open {
    fn add(&mut self, stream: TcpStream, router: Router) {
        self.all.retain(|it| !it.task.is_finished());
        if self.all.len() >= self.limits.connections {
            let idle = self.all.iter().position(|it| !it.is_busy());
            self.all.remove(idle.unwrap_or_default()).task.abort();
        }
        let is_busy = Arc::new(AtomicBool::new(false));
        let task = self.tasks.spawn(answer(stream, router, Arc::clone(&is_busy), self.limits));
        self.all.push(Connection { task, is_busy });
    }

    /// Answers pending requests.
    async fn finish(mut self) {
        self.all.iter().filter(|it| !it.is_busy()).for_each(|it| it.task.abort());
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = timeout(self.limits.head, all).await;
    }
}

/// Answers the one request of a connection.
async fn answer(stream: TcpStream, router: Router, is_busy: Arc<AtomicBool>, limits: Limits) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        is_busy.store(true, Ordering::Relaxed);
        let answer = router.clone().oneshot(request.map(Body::new));
        async move { Ok::<Response<Body>, Infallible>(answer.await.unwrap_or_else(|it| match it {})) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(FIELDS)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(limits.connection, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("a connection to the HTTP server failed: {error}"),
        Err(_) => tracing::debug!("a connection to the HTTP server took too long"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_descriptors_are_left_to_the_datapath() {
        let of = |files| Limits::of_process(files).connections;
        assert_eq!([0, 256, 512, 1024, 1 << 20, u64::MAX].map(of), [4, 16, 32, 64, 64, 64]);
    }
}
