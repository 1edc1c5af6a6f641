//! The checks against requests that a browser sends on behalf of another site.
//!
//! A page of another site can reach a server on loopback by a name that its owner's DNS server resolves
//! to loopback (DNS rebinding). The request has that name in `Host`.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

/// Refuses requests that do not address the server as a loopback address or `localhost`.
pub(super) async fn require_loopback(request: Request, next: Next) -> Response {
    if is_to_loopback(request.uri(), request.headers()) {
        return next.run(request).await;
    }
    let why = "the Host of the request must be a loopback address or localhost\n";
    (StatusCode::FORBIDDEN, why).into_response()
}

/// Refuses requests that a page of another site sends.
pub(super) async fn refuse_others(request: Request, next: Next) -> Response {
    if is_of_this_site(request.headers()) {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "the request is of another origin\n").into_response()
}

fn is_to_loopback(uri: &Uri, headers: &HeaderMap) -> bool {
    let named = uri.authority().is_none_or(|it| is_loopback(it.as_str()));
    named && only(headers, &HOST).is_some_and(is_loopback)
}

/// The agent serves no pages, so hardly any browser sends its own origin.
fn is_of_this_site(headers: &HeaderMap) -> bool {
    if !headers.contains_key(ORIGIN) {
        return true;
    }
    let authority = only(headers, &ORIGIN).and_then(|it| it.strip_prefix("http://"));
    authority.is_some_and(is_loopback) && authority == only(headers, &HOST)
}

/// The value of a field that occurs once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Whether an authority is a loopback address or `localhost`, with or without a port.
fn is_loopback(text: &str) -> bool {
    let Ok(authority) = text.parse::<Authority>() else { return false };
    let host = authority.host();
    let port = text.strip_prefix(host).unwrap_or("@");
    let is_port =
        port.is_empty() || port.strip_prefix(':').is_some_and(|it| it.parse::<u16>().is_ok());
    let v6 = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let is_local = match v6 {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok_and(|it| it.is_loopback()),
        None => {
            host.eq_ignore_ascii_case("localhost")
                || host.parse::<Ipv4Addr>().is_ok_and(|it| it.is_loopback())
        }
    };
    is_port && is_local
}
