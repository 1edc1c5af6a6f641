//! The page's listener, on loopback.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;

use super::api;
use super::assets;
use super::failure::Failure;
use super::security::{Token, require_same_origin, require_token, restrict};
use super::sources::Page;
use crate::observe::{Limits, serve_on_loopback};

/// The longest request body in bytes: the policies of a what-if question.
const LONGEST: usize = 1 << 20;

/// The limits of the listener. A question may wait for an API server.
const LIMITS: Limits =
    Limits { connections: 64, head: Duration::from_secs(5), connection: Duration::from_secs(120) };

/// A page that is served.
#[derive(Debug)]
pub struct Served<F> {
    /// The page's URL, with the token.
    pub url: String,
    /// The server; it ends when `shutdown` completes.
    pub serving: F,
}

/// Serves a page until `shutdown` completes.
///
/// # Errors
/// The listener is not on loopback, or the system has no random numbers.
pub fn serve(
    listener: TcpListener,
    page: Arc<Page>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<Served<impl Future<Output = io::Result<()>> + Send + 'static>> {
    let address = on_loopback(&listener)?;
    let token = Token::random()?;
    let url = format!("http://{address}/#token={}", token.text());
    let serving = serve_on_loopback(listener, router(page, Some(token)), LIMITS, shutdown);
    Ok(Served { url, serving })
}

/// The same without a token, where every client of the listener may read as much elsewhere: an agent's
/// status shows it.
///
/// # Errors
/// The listener is not on loopback.
pub fn serve_without_token(
    listener: TcpListener,
    page: Arc<Page>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<Served<impl Future<Output = io::Result<()>> + Send + 'static>> {
    let url = format!("http://{}/", on_loopback(&listener)?);
    let serving = serve_on_loopback(listener, router(page, None), LIMITS, shutdown);
    Ok(Served { url, serving })
}

fn on_loopback(listener: &TcpListener) -> io::Result<SocketAddr> {
    let address = listener.local_addr()?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    let why = format!("{address} is not on loopback: the page shows the cluster's policies");
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}

fn router(page: Arc<Page>, token: Option<Token>) -> Router {
    let mut questions = Router::new()
        .route("/api/model", get(api::model))
        .route("/api/explain", post(api::explain))
        .route("/api/describe", post(api::describe))
        .route("/api/diff", post(api::diff))
        .route("/api/policy", post(api::policy))
        .route("/api/activity", get(api::activity));
    if let Some(token) = token {
        questions = questions.layer(from_fn_with_state(token, require_token));
    }
    Router::new()
        .merge(questions.with_state(page))
        .fallback(file)
        .layer(DefaultBodyLimit::max(LONGEST))
        .layer(from_fn(require_same_origin))
        .layer(from_fn(restrict))
}

async fn file(method: Method, uri: Uri) -> Response {
    match assets::file(uri.path()) {
        Some((kind, text)) if method == Method::GET => {
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        Some(_) => Failure::new(StatusCode::METHOD_NOT_ALLOWED, "use GET").into_response(),
        None => Failure::new(StatusCode::NOT_FOUND, "there is no such page").into_response(),
    }
}

#[cfg(test)]
mod tests;
