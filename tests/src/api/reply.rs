//! An answer before it is sent: a head, and a body in pieces that faults can change.

use axum::body::{Body, Bytes};
use axum::http::{Response, StatusCode, header};
use futures::stream::{self, BoxStream, StreamExt};
use serde_json::Value;

use super::status::Refusal;

/// Pieces of a body: the whole answer, or an event of a watch each. An error cuts the connection.
pub(crate) type Pieces = BoxStream<'static, Result<Bytes, Cut>>;

/// The connection is cut.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut on purpose")]
pub(crate) struct Cut;

const JSON: &str = "application/json";

pub(crate) struct Reply {
    pub code: u16,
    pub content_type: &'static str,
    pub retry_after: Option<u32>,
    pub warnings: Vec<String>,
    pub pieces: Pieces,
}

impl Reply {
    pub(crate) fn object(code: u16, object: &Value) -> Self {
        let text = Bytes::from(object.to_string());
        let pieces = stream::iter([Ok(text)]).boxed();
        Self { code, content_type: JSON, retry_after: None, warnings: Vec::new(), pieces }
    }

    pub(crate) fn refusal(refusal: &Refusal) -> Self {
        let reply = Self::object(refusal.code, &refusal.status());
        Self { retry_after: refusal.retry_after, ..reply }
    }

    pub(crate) fn watch(pieces: Pieces) -> Self {
        Self { code: 200, content_type: JSON, retry_after: None, warnings: Vec::new(), pieces }
    }

    pub(crate) fn text(pieces: Pieces) -> Self {
        Self { content_type: "text/plain", ..Self::watch(pieces) }
    }

    pub(crate) fn response(self) -> Response<Body> {
        let mut response = Response::new(Body::from_stream(self.pieces));
        *response.status_mut() = StatusCode::from_u16(self.code).unwrap_or_default();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(self.content_type));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        for warning in self.warnings {
            let text = format!("299 - \"{}\"", warning.replace(['"', '\\'], "'"));
            if let Ok(value) = text.parse() {
                headers.append(header::WARNING, value);
            }
        }
        response
    }
}
