//! The bodies of requests.

use axum::body::Bytes;
use serde_json::Value;

use super::delete::Deletion;
use super::object;
use super::protobuf;
use super::request::Request;
use super::status::Refusal;

/// The object in a body.
pub(super) fn object_of(content_type: &str, body: &Bytes) -> Result<Value, Refusal> {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if kind == protobuf::CONTENT_TYPE {
        return protobuf::object(body).ok_or_else(|| {
            let message = "not in this lab: objects of this kind in protobuf; use kubectl apply";
            Refusal::new(415, "UnsupportedMediaType", message)
        });
    }
    if !matches!(kind, "" | "application/json") {
        let message = format!("the body of the request was in an unknown format: {kind}");
        return Err(Refusal::new(415, "UnsupportedMediaType", message));
    }
    serde_json::from_slice(body).map_err(|error| {
        Refusal::bad_request(format!("the body of the request is not JSON: {error}"))
    })
}

/// The conditions of a deletion, from its body and its parameters.
pub(super) fn deletion(request: &Request, body: &Bytes) -> Result<Deletion, Refusal> {
    let options: Value = if body.is_empty() { Value::Null } else { object_of("", body)? };
    let text = |pointer: &str| {
        let text = object::text(&options, pointer);
        (!text.is_empty()).then(|| text.to_owned())
    };
    let asked = request.query.number("gracePeriodSeconds")?;
    let asked = asked.and_then(|it| i64::try_from(it).ok());
    Ok(Deletion {
        dry_run: options["dryRun"][0] == "All",
        grace_seconds: options["gracePeriodSeconds"].as_i64().or(asked),
        uid: text("/preconditions/uid"),
        version: text("/preconditions/resourceVersion"),
    })
}
