//! Fields that several kinds share.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use enforcer_core::model::{AUDIT_ANNOTATION, DENY_WITH_ANNOTATION, DenyWith};

use super::Problem;
use crate::source::nearest::nearest;

/// `metadata.name`, which every object must have.
pub(super) fn name(meta: &ObjectMeta, problems: &mut Vec<Problem>) -> String {
    let name = meta.name.clone().unwrap_or_default();
    if name.is_empty() {
        let problem = Problem::error("metadata.name", "missing: an object needs a name");
        let is_generated = meta.generate_name.as_ref().is_some_and(|it| !it.is_empty());
        let help = "`kubectl apply` accepts no generateName in its place";
        problems.push(if is_generated { problem.help(help) } else { problem });
    }
    name
}

/// `metadata.namespace`; `default` if absent.
pub(super) fn namespace(meta: &ObjectMeta) -> String {
    meta.namespace.clone().filter(|it| !it.is_empty()).unwrap_or_else(|| "default".to_owned())
}

/// Whether [`AUDIT_ANNOTATION`] puts the object in audit. Only `true` does: what is enforced stays
/// enforced.
pub(super) fn audit(meta: &ObjectMeta, problems: &mut Vec<Problem>) -> bool {
    let annotations = meta.annotations.as_ref();
    let Some(value) = annotations.and_then(|it| it.get(AUDIT_ANNOTATION)) else { return false };
    if !matches!(value.as_str(), "true" | "false") {
        let path = format!("metadata.annotations.{AUDIT_ANNOTATION}");
        let message = format!("`{value}` is neither `true` nor `false`: this stays enforced");
        problems.push(Problem::warning(path, message).help("write \"true\", with the quotes"));
    }
    value == "true"
}

/// What [`DENY_WITH_ANNOTATION`] sets; `None` for any other word: the agent's default.
pub(super) fn deny_with(meta: &ObjectMeta, problems: &mut Vec<Problem>) -> Option<DenyWith> {
    let value = meta.annotations.as_ref()?.get(DENY_WITH_ANNOTATION)?;
    let known = DenyWith::ALL.into_iter().find(|it| it.name() == value);
    if known.is_none() {
        let path = format!("metadata.annotations.{DENY_WITH_ANNOTATION}");
        let message =
            format!("`{value}` is neither `drop` nor `reject`: the agent's --deny-with counts");
        problems.push(Problem::warning(path, message).help("write drop or reject"));
    }
    known
}

/// Adds an address to a set.
pub(super) fn address(
    text: &str,
    path: &str,
    into: &mut BTreeSet<IpAddr>,
    problems: &mut Vec<Problem>,
) {
    match text.parse() {
        Ok(address) => {
            into.insert(address);
        }
        Err(_) => problems.push(Problem::error(path, format!("`{text}` is not an IP address"))),
    }
}

/// An error about a word that is not allowed; suggests an allowed one that is near.
pub(super) fn unknown_word(path: &str, word: &str, what: &str, allowed: &[&str]) -> Problem {
    let message = format!("unknown {what} `{word}`; expected one of {}", allowed.join(", "));
    let problem = Problem::error(path, message);
    match nearest(word, allowed) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem,
    }
}
