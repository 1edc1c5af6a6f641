//! The syntax of labels (Kubernetes documentation, "Labels and Selectors").
//!
//! A selector with a label that no object can have would silently match nothing, so it is reported.

use std::collections::BTreeMap;

use super::Problem;

/// Checks a mapping of labels.
pub(super) fn check(labels: &BTreeMap<String, String>, path: &str, problems: &mut Vec<Problem>) {
    for (key, value) in labels {
        let path = format!("{path}.{key}");
        check_key(key, &path, problems);
        check_value(value, &path, problems);
    }
}

/// Checks the key of a label: a name, optionally after a DNS name and a slash.
pub(super) fn check_key(key: &str, path: &str, problems: &mut Vec<Problem>) {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(it, name)| (Some(it), name));
    if !is_name(name) || prefix.is_some_and(|it| !is_domain(it)) {
        let help = "at most 63 letters, digits, `-`, `_` and `.`, a letter or digit at both ends; \
                    optionally after a lower-case DNS name and `/`";
        problems.push(Problem::error(path, format!("`{key}` is not a label key")).help(help));
    }
}

/// Checks the value of a label, which may be empty.
pub(super) fn check_value(value: &str, path: &str, problems: &mut Vec<Problem>) {
    if !value.is_empty() && !is_name(value) {
        let help = "at most 63 letters, digits, `-`, `_` and `.`, a letter or digit at both ends";
        problems.push(Problem::error(path, format!("`{value}` is not a label value")).help(help));
    }
}

fn is_name(text: &str) -> bool {
    let inner = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.');
    let outer = |it: Option<&u8>| it.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    text.len() <= 63 && outer(bytes.first()) && outer(bytes.last()) && text.bytes().all(inner)
}

/// Whether a text is a lower-case DNS name.
pub(super) fn is_domain(text: &str) -> bool {
    let lower = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
    let label = |it: &str| {
        let ends = it.bytes().next().is_some_and(lower) && it.bytes().last().is_some_and(lower);
        ends && it.bytes().all(|it| lower(it) || it == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(key: &str) -> usize {
        let mut problems = Vec::new();
        check_key(key, "k", &mut problems);
        problems.len()
    }

    fn values(value: &str) -> usize {
        let mut problems = Vec::new();
        check_value(value, "v", &mut problems);
        problems.len()
    }

    #[test]
    fn good_labels() {
        for key in ["app", "A_b.c-d", "app.kubernetes.io/name", "x/Y", "1", &"k".repeat(63)] {
            assert_eq!(keys(key), 0, "{key}");
        }
        for value in ["", "v1.2.3", "A", "a_b", &"v".repeat(63)] {
            assert_eq!(values(value), 0, "{value}");
        }
    }

    #[test]
    fn bad_labels() {
        let long = "k".repeat(64);
        for key in ["", "/a", "a/", "a/b/c", "Up.Case/a", "-a", "a_", "ü", "a..b/c", "a b", &long]
        {
            assert_eq!(keys(key), 1, "{key}");
        }
        for value in ["my app", "v1.", "-", "a/b", "a\nb", &long] {
            assert_eq!(values(value), 1, "{value}");
        }
    }
}
