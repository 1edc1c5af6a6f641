//! Metrics, health and status over HTTP.
//!
//! Paths that show pods, addresses and policies, or that change something, are served on loopback only.
//! Metrics and health may be served on other addresses.

mod connections;
mod origin;

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::{AskError, Asked, Flows, LiveQuestion, LogFilter, Metrics, RecentDrop, Report, Status};

pub use connections::Limits;

/// The content type of OpenMetrics text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of Prometheus' text format, for readers that do not ask for OpenMetrics.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The state that the server shows. It is read at every request, so it should not take long.
pub trait Observed: Send + Sync + 'static {
    /// The present state.
    fn report(&self) -> Report;

    /// The last attempts with dropped packets after the one of this number, the newest first.
    fn drops(&self, after: u64) -> Vec<RecentDrop>;

    /// The flows that changed after a revision, and the use of rules.
    fn flows(&self, after: u64) -> Flows;

    /// The answer to a question about connections, as a JSON document.
    fn ask(
        &self,
        asked: Asked,
        question: LiveQuestion,
    ) -> impl Future<Output = Result<String, AskError>> + Send;

    /// The metrics that accumulate over time.
    fn metrics(&self) -> &Metrics;

    /// Whether the agent works.
    ///
    /// # Errors
    /// The reason why the agent should be restarted.
    fn healthy(&self) -> Result<(), String>;

    /// The log filter.
    fn log(&self) -> &LogFilter;

    /// Whether the node's policies are programmed (semantics C4).
    ///
    /// # Errors
    /// The missing condition.
    fn ready(&self) -> Result<(), String>;
}

/// The paths that a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paths {
    /// `/metrics`, `/healthz` and `/readyz`.
    Metrics,
    /// `/status`, `/drops`, `/flows`, `/explain`, `/trace` and `/log`: for loopback only.
    Status,
    /// All of them: for loopback only.
    All,
}

/// The longest accepted log filter, in bytes.
const LONGEST_FILTER: usize = 4_096;

/// Reports that are made at the same time: each takes a while on a full node.
const REPORTS: usize = 2;

/// Serves the paths until `shutdown` completes; answers pending requests first.
///
/// # Errors
/// None at present: a failed connection is no error of the server.
pub async fn serve(
    listener: TcpListener,
    paths: Paths,
    observed: Arc<impl Observed>,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    connections::serve(listener, router(paths, observed), limits, shutdown).await
}

/// Serves another router on a loopback listener, within limits and for requests of its own origin only.
///
/// # Errors
/// None at present, as for [`serve`].
pub async fn serve_on_loopback(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = router.layer(from_fn(origin::require_loopback));
    let router = router.layer(from_fn(origin::refuse_others));
    connections::serve(listener, router, limits, shutdown).await
}

fn router<O: Observed>(paths: Paths, observed: Arc<O>) -> Router {
    let reports = Arc::new(Semaphore::new(REPORTS));
    let in_turn = || from_fn_with_state(Arc::clone(&reports), take_turns);
    let mut router = Router::new();
    if paths != Paths::Status {
        router = router
            .route("/metrics", get(metrics::<O>).layer(in_turn()))
            .route("/healthz", get(healthz::<O>))
            .route("/readyz", get(readyz::<O>));
    }
    if paths != Paths::Metrics {
        let local = Router::new()
            .route("/status", get(status::<O>).layer(in_turn()))
            .route("/drops", get(drops::<O>))
            .route("/flows", get(flows::<O>).layer(in_turn()))
            .route("/explain", get(explain::<O>))
            .route("/trace", get(trace::<O>))
            .route("/log", get(log::<O>).put(set_log::<O>))
            .layer(from_fn(origin::require_loopback));
        router = router.merge(local);
    }
    let router = router.layer(from_fn(origin::refuse_others));
    router.layer(DefaultBodyLimit::max(LONGEST_FILTER)).with_state(observed)
}

/// Limits the reports that are made at the same time. Probes do not wait for them.
async fn take_turns(
    State(reports): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Response {
    // The semaphore is never closed.
    let _turn = reports.acquire().await.ok();
    next.run(request).await
}

async fn log<O: Observed>(State(observed): State<Arc<O>>) -> String {
    format!("{}\n", observed.log().get())
}

/// Changes the log filter. A page of another site can't send this request from a browser: PUT requires
/// this server's consent.
async fn set_log<O: Observed>(State(observed): State<Arc<O>>, filter: String) -> Response {
    match observed.log().set(filter.trim()) {
        Ok(()) => log(State(observed)).await.into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

async fn metrics<O: Observed>(State(observed): State<Arc<O>>, headers: HeaderMap) -> Response {
    let text = observed.metrics().text(observed.report());
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|it| it.to_str().ok());
    if accepted.any(|it| it.contains("application/openmetrics-text")) {
        return ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response();
    }
    ([(CONTENT_TYPE, TEXT)], super::metrics::plain(&text)).into_response()
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

/// The drops as JSON; `?after=NUMBER`: only those of later attempts.
async fn drops<O: Observed>(State(observed): State<Arc<O>>, uri: Uri) -> Response {
    match after(&uri) {
        Some(after) => json(&observed.drops(after)),
        None => (StatusCode::BAD_REQUEST, "expected ?after=NUMBER\n").into_response(),
    }
}

/// The flows as JSON; `?after=REVISION`: only those that changed later.
async fn flows<O: Observed>(State(observed): State<Arc<O>>, uri: Uri) -> Response {
    match after(&uri) {
        Some(after) => json(&observed.flows(after)),
        None => (StatusCode::BAD_REQUEST, "expected ?after=REVISION\n").into_response(),
    }
}

/// What the policies decide: `?from=FROM&to=TO&namespace=NAME&all=true`, as of `enforcer explain`.
async fn explain<O: Observed>(State(observed): State<Arc<O>>, uri: Uri) -> Response {
    ask(&*observed, Asked::Explain, &uri).await
}

/// What the loaded programs do with a packet; the same parameters.
async fn trace<O: Observed>(State(observed): State<Arc<O>>, uri: Uri) -> Response {
    ask(&*observed, Asked::Trace, &uri).await
}

async fn ask(observed: &impl Observed, asked: Asked, uri: &Uri) -> Response {
    let answer = match LiveQuestion::read(uri) {
        Ok(question) => observed.ask(asked, question).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(json) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error @ AskError::Question(_)) => {
            (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response()
        }
        Err(error @ AskError::Busy(_)) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response()
        }
    }
}

fn after(uri: &Uri) -> Option<u64> {
    uri.query().unwrap_or("after=0").strip_prefix("after=")?.parse().ok()
}

fn json(body: &impl serde::Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(json) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests;
