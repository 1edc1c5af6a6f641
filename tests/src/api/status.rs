//! Error answers.

use serde_json::{Value, json};

use super::kinds::Kind;

/// An error answer: the content of Kubernetes' `Status`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{code} {reason}: {message}")]
pub struct Refusal {
    /// The HTTP status.
    pub code: u16,
    /// The machine-readable reason.
    pub reason: &'static str,
    /// The message for people.
    pub message: String,
    /// The object concerned and the causes.
    pub details: Value,
    /// Seconds until the client may retry.
    pub retry_after: Option<u32>,
}

impl Refusal {
    /// A refusal without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null, retry_after: None }
    }

    /// A malformed request.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// The usual refusal of an HTTP status.
    pub fn of_code(code: u16, retry_after: Option<u32>) -> Self {
        let (reason, message) = match code {
            400 => ("BadRequest", "the request is not understood"),
            401 => ("Unauthorized", "Unauthorized"),
            403 => ("Forbidden", "the request is forbidden"),
            404 => ("NotFound", "the server could not find the requested resource"),
            405 => ("MethodNotAllowed", "the server does not allow this method on it"),
            410 => ("Expired", "The resourceVersion for the provided watch is too old."),
            429 => ("TooManyRequests", "too many requests, please try again later"),
            503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
            504 => ("Timeout", "the request did not complete within the allotted time"),
            _ => ("InternalError", "Internal error occurred"),
        };
        Self { retry_after, ..Self::new(code, reason, message) }
    }

    fn about(kind: &Kind, name: &str, code: u16, reason: &'static str, message: String) -> Self {
        let details = json!({ "name": name, "group": kind.group, "kind": kind.plural });
        Self { details, ..Self::new(code, reason, message) }
    }

    /// The object does not exist.
    pub fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", kind.qualified());
        Self::about(kind, name, 404, "NotFound", message)
    }

    /// The object exists already.
    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.qualified());
        Self::about(kind, name, 409, "AlreadyExists", message)
    }

    /// The object has changed since the client read it.
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.qualified());
        Self::about(kind, name, 409, "Conflict", message)
    }

    /// The operation is forbidden.
    pub fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", kind.qualified());
        Self::about(kind, name, 403, "Forbidden", message)
    }

    /// The object is invalid; each mistake is a field and a message.
    pub fn invalid(kind: &Kind, name: &str, mistakes: &[(String, String)]) -> Self {
        let texts: Vec<String> =
            mistakes.iter().map(|(field, why)| format!("{field}: {why}")).collect();
        let all = match texts.as_slice() {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let causes = mistakes.iter().map(
            |(field, why)| json!({ "reason": "FieldValueInvalid", "message": why, "field": field }),
        );
        let causes: Vec<Value> = causes.collect();
        let of_group =
            if kind.group.is_empty() { String::new() } else { format!(".{}", kind.group) };
        let message = format!("{}{of_group} \"{name}\" is invalid: {all}", kind.kind);
        let details =
            json!({ "name": name, "group": kind.group, "kind": kind.kind, "causes": causes });
        Self { details, ..Self::new(422, "Invalid", message) }
    }

    /// The requested version is no longer in the history.
    pub fn expired(asked: u64, oldest: u64) -> Self {
        Self::new(410, "Expired", format!("too old resource version: {asked} ({oldest})"))
    }

    /// The `Status` object.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        let mut details = self.details.clone();
        if let Some(seconds) = self.retry_after {
            if details.is_null() {
                details = json!({});
            }
            details["retryAfterSeconds"] = seconds.into();
        }
        if !details.is_null() {
            status["details"] = details;
        }
        status
    }
}

/// The answer to a success that leaves no object to return.
pub(crate) fn success(kind: &Kind, name: &str, uid: &Value) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": { "name": name, "group": kind.group, "kind": kind.plural, "uid": uid },
    })
}
