//! The token, and the headers that limit what a page may do.

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::failure::Failure;

/// The page loads its own files and talks to its own server only. No script comes from a string
/// (trusted types), no form is sent, no other page can frame it.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// A secret of 128 bits that the page's requests carry. It comes in the fragment of the URL, which a
/// browser sends to no server.
#[derive(Clone)]
pub(super) struct Token(Arc<str>);

impl Token {
    /// A random token.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(super) fn random() -> io::Result<Self> {
        let mut bytes = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self(bytes.iter().map(|it| format!("{it:02x}")).collect::<String>().into()))
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Whether the request carries the token. Takes the same time wherever a wrong one differs.
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let Some(given) = value.as_bytes().strip_prefix(b"Bearer ") else { return false };
        let own = self.0.as_bytes();
        let difference = own.iter().zip(given).fold(0, |sum, (a, b)| sum | (a ^ b));
        own.len() == given.len() && difference == 0
    }
}

/// Rejects requests without the token.
pub(super) async fn require_token(
    State(token): State<Token>,
    request: Request,
    next: Next,
) -> Response {
    if token.is_in(request.headers()) {
        return next.run(request).await;
    }
    let why = "the token is missing or wrong: open the URL that the program printed";
    Failure::new(StatusCode::UNAUTHORIZED, why).into_response()
}

/// Rejects requests that a browser sends for a page of another site.
pub(super) async fn require_same_origin(request: Request, next: Next) -> Response {
    let site = request.headers().get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_none_or(|it| it == b"same-origin" || it == b"none") {
        return next.run(request).await;
    }
    Failure::new(StatusCode::FORBIDDEN, "the request is of another site").into_response()
}

/// Adds the headers that limit the page.
pub(super) async fn restrict(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    let resource = HeaderName::from_static("cross-origin-resource-policy");
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (opener, "same-origin"),
        (resource, "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_counts() {
        let token = Token::random().unwrap();
        assert_ne!(token.text(), Token::random().unwrap().text());
        let is_in = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            token.is_in(&headers)
        };
        let right = format!("Bearer {}", token.text());
        assert!(is_in(&[&right]));
        let shorter = &right[..right.len() - 1];
        for wrong in [&[][..], &[shorter], &["Bearer "], &[&format!("{right}0")], &[&right, &right]]
        {
            assert!(!is_in(wrong), "{wrong:?}");
        }
    }
}
