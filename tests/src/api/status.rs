//! Answers that say no.

use serde_json::{Value, json};

use super::kinds::Kind;

/// A refusal, in the shape of Kubernetes' `Status`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{code} {reason}: {message}")]
pub struct Refusal {
    /// The HTTP status.
    pub code: u16,
    /// A word for programs.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
    /// What it is about.
    pub details: Value,
    /// After how many seconds to try again.
    pub retry_after: Option<u32>,
}

impl Refusal {
    /// A refusal without details.
    #[must_use]
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null, retry_after: None }
    }

    /// The usual one of an HTTP status.
    #[must_use]
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

    /// There is no such object.
    #[must_use]
    pub fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", kind.qualified());
        Self::about(kind, name, 404, "NotFound", message)
    }

    /// There is such an object.
    #[must_use]
    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.qualified());
        Self::about(kind, name, 409, "AlreadyExists", message)
    }

    /// Somebody else was faster.
    #[must_use]
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.qualified());
        Self::about(kind, name, 409, "Conflict", message)
    }

    /// It may not be done.
    #[must_use]
    pub fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", kind.qualified());
        Self::about(kind, name, 403, "Forbidden", message)
    }

    /// The object can't be as it is; a field and a sentence for each mistake.
    #[must_use]
    pub fn invalid(kind: &Kind, name: &str, mistakes: &[(String, String)]) -> Self {
        let texts: Vec<String> =
            mistakes.iter().map(|(field, why)| format!("{field}: {why}")).collect();
        let said = match texts.as_slice() {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let causes = mistakes.iter().map(
            |(field, why)| json!({ "reason": "FieldValueInvalid", "message": why, "field": field }),
        );
        let causes: Vec<Value> = causes.collect();
        let of_group =
            if kind.group.is_empty() { String::new() } else { format!(".{}", kind.group) };
        let message = format!("{}{of_group} \"{name}\" is invalid: {said}", kind.kind);
        let details =
            json!({ "name": name, "group": kind.group, "kind": kind.kind, "causes": causes });
        Self { details, ..Self::new(422, "Invalid", message) }
    }

    /// What was asked from is forgotten.
    #[must_use]
    pub fn expired(asked: u64, oldest: u64) -> Self {
        Self::new(410, "Expired", format!("too old resource version: {asked} ({oldest})"))
    }

    /// As an object.
    #[must_use]
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

/// That something was done, where there is no object to show.
pub(crate) fn success(kind: &Kind, name: &str, uid: &Value) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": { "name": name, "group": kind.group, "kind": kind.plural, "uid": uid },
    })
}
