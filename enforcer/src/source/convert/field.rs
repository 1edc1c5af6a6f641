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

/// Adds an address to a set. One that is not in its usual form counts: the API server accepts it in older fields,
/// and kube-proxy uses it (`IsValidIPForLegacyField` in kubernetes/kubernetes,
/// `pkg/apis/core/validation/validation.go`; `ParseIPSloppy` in kubernetes/utils, `net/parse.go`).
pub(super) fn address(
    text: &str,
    path: &str,
    into: &mut BTreeSet<IpAddr>,
    problems: &mut Vec<Problem>,
) {
    let Some(address) = address_of(text) else {
        problems.push(Problem::error(path, format!("`{text}` is not an IP address")));
        return;
    };
    if text.parse::<IpAddr>().ok() != Some(address) {
        let message =
            format!("`{text}` has leading zeros or is IPv4-mapped; it is taken as {address}");
        problems.push(Problem::only_old(path, message).help(format!("write {address}")));
    }
    into.insert(address);
}

/// The address of a text that may have leading zeros, which mean nothing, or be IPv4-mapped.
fn address_of(text: &str) -> Option<IpAddr> {
    let mut plain = String::with_capacity(text.len());
    for part in text.split_inclusive(['.', ':']) {
        let digits = part.trim_end_matches(['.', ':']);
        let (zeros, rest) = digits.split_at(digits.len() - digits.trim_start_matches('0').len());
        let only_zeros = rest.is_empty() && !zeros.is_empty();
        plain.push_str(if only_zeros { "0" } else { rest });
        plain.push_str(part.get(digits.len()..).unwrap_or_default());
    }
    plain.parse::<IpAddr>().ok().map(|it| it.to_canonical())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_kube_proxy_reads_them() {
        for (text, meant, problems) in [
            ("10.0.0.1", "10.0.0.1", 0),
            ("fd00::1", "fd00::1", 0),
            ("::", "::", 0),
            ("0.0.0.0", "0.0.0.0", 0),
            ("010.000.0.01", "10.0.0.1", 1),
            ("::ffff:10.0.0.1", "10.0.0.1", 1),
            ("::ffff:10.0.0.01", "10.0.0.1", 1),
            ("000fd00:0::1", "fd00::1", 1),
        ] {
            let (mut found, mut reported) = (BTreeSet::new(), Vec::new());
            address(text, "a", &mut found, &mut reported);
            assert_eq!(found, [meant.parse().unwrap()].into(), "{text}");
            assert_eq!(reported.len(), problems, "{text}: {reported:?}");
        }
        for text in [
            "",
            "0",
            "1.2.3",
            "1.2.3.256",
            "1.2.3.0x1",
            "fe80::1%eth0",
            "a",
            "1.2.3.4/32",
            "1..2.3",
        ] {
            let (mut found, mut reported) = (BTreeSet::new(), Vec::new());
            address(text, "a", &mut found, &mut reported);
            assert_eq!((found.len(), reported.len()), (0, 1), "{text}");
        }
    }
}
