//! Metrics, health and status over HTTP.

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::{Metrics, Report, Status};

/// The content type of OpenMetrics text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the server shows. Asked anew at every request, so answers should not take long.
pub trait Observed: Send + Sync + 'static {
    /// The present state.
    fn report(&self) -> Report;

    /// The metrics that build up over time.
    fn metrics(&self) -> &Metrics;

    /// Whether the agent works; else what is wrong, so that it should be restarted.
    ///
    /// # Errors
    /// What is wrong, for people.
    fn healthy(&self) -> Result<(), String>;

    /// Whether the node's policies are programmed (semantics C4).
    ///
    /// # Errors
    /// What is missing, for people.
    fn ready(&self) -> Result<(), String>;
}

/// Serves `/metrics`, `/healthz`, `/readyz` and `/status` until `shutdown` completes; requests
/// under way are answered.
///
/// # Errors
/// As [`axum::serve`].
pub async fn serve(
    listener: TcpListener,
    observed: Arc<impl Observed>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router(observed)).with_graceful_shutdown(shutdown).await
}

fn router<O: Observed>(observed: Arc<O>) -> Router {
    Router::new()
        .route("/metrics", get(metrics::<O>))
        .route("/healthz", get(healthz::<O>))
        .route("/readyz", get(readyz::<O>))
        .route("/status", get(status::<O>))
        .with_state(observed)
}

async fn metrics<O: Observed>(State(observed): State<Arc<O>>) -> Response {
    let text = observed.metrics().text(observed.report());
    ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}

async fn healthz<O: Observed>(State(observed): State<Arc<O>>) -> Response {
    probe(observed.healthy())
}

async fn readyz<O: Observed>(State(observed): State<Arc<O>>) -> Response {
    probe(observed.ready())
}

fn probe(result: Result<(), String>) -> Response {
    match result {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn status<O: Observed>(State(observed): State<Arc<O>>) -> Response {
    let status = Status::new(observed.report(), observed.ready().err().as_deref());
    match serde_json::to_string_pretty(&status) {
        Ok(json) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio_util::sync::CancellationToken;

    use super::super::fixture;
    use super::*;

    struct Agent {
        metrics: Metrics,
        ready: Result<(), String>,
    }

    impl Observed for Agent {
        fn report(&self) -> Report {
            fixture::report()
        }

        fn metrics(&self) -> &Metrics {
            &self.metrics
        }

        fn healthy(&self) -> Result<(), String> {
            Ok(())
        }

        fn ready(&self) -> Result<(), String> {
            self.ready.clone()
        }
    }

    /// The head (in lower case) and the body of the answer to a request.
    async fn request(address: SocketAddr, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_lowercase(), body.to_owned())
    }

    async fn with_server(ready: Result<(), String>, test: impl AsyncFnOnce(SocketAddr)) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let agent = Arc::new(Agent { metrics: Metrics::new(), ready });
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, agent, stop.clone().cancelled_owned()));
        test(address).await;
        stop.cancel();
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn metrics_have_the_content_type_of_open_metrics() {
        with_server(Ok(()), async |address| {
            let (head, body) = request(address, "/metrics").await;
            assert!(head.starts_with("http/1.1 200"), "{head}");
            assert!(head.contains(&format!("content-type: {OPEN_METRICS}")), "{head}");
            assert_eq!(body, Metrics::new().text(fixture::report()));
        })
        .await;
    }

    #[tokio::test]
    async fn status_is_json() {
        with_server(Ok(()), async |address| {
            let (head, body) = request(address, "/status").await;
            assert!(head.contains("content-type: application/json"), "{head}");
            let status: Status = serde_json::from_str(&body).unwrap();
            assert_eq!(status, Status::new(fixture::report(), None));
        })
        .await;
    }

    #[tokio::test]
    async fn readiness_says_what_is_missing() {
        with_server(Ok(()), async |address| {
            let (head, body) = request(address, "/readyz").await;
            assert!(head.starts_with("http/1.1 200"), "{head}");
            assert_eq!(body, "ok\n");
        })
        .await;
        with_server(Err("no lists yet".to_owned()), async |address| {
            let (head, body) = request(address, "/readyz").await;
            assert!(head.starts_with("http/1.1 503"), "{head}");
            assert_eq!(body, "no lists yet\n");
            let (head, _) = request(address, "/healthz").await;
            assert!(head.starts_with("http/1.1 200"), "{head}");
            let (_, body) = request(address, "/status").await;
            assert!(!serde_json::from_str::<Status>(&body).unwrap().ready);
        })
        .await;
    }

    #[tokio::test]
    async fn other_paths_are_not_found() {
        with_server(Ok(()), async |address| {
            assert!(request(address, "/").await.0.starts_with("http/1.1 404"));
        })
        .await;
    }
}
