//! What names, labels and ports may look like.

use serde_json::Value;

use super::kinds::Kind;
use super::object;

/// A field and what is wrong with it.
pub(crate) type Mistake = (String, String);

const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric \
    characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
    characters, '-' or '.', and must start and end with an alphanumeric character";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters \
    or '-', and must start and end with an alphanumeric character";

/// Checks an object's name, labels and annotations.
pub(crate) fn metadata(kind: &Kind, object: &Value, mistakes: &mut Vec<Mistake>) {
    let name = object::text(object, "/metadata/name");
    let mut wrong = |field: String, why: String| mistakes.push((field, why));
    if name.is_empty() {
        let why = "Required value: name or generateName is required";
        wrong("metadata.name".to_owned(), why.to_owned());
    } else if let Some(why) = bad_name(kind, name) {
        wrong("metadata.name".to_owned(), format!("Invalid value: {name:?}: {why}"));
    }
    for (key, value) in object::labels(object) {
        if !is_qualified_name(key) {
            wrong(
                "metadata.labels".to_owned(),
                format!(
                    "Invalid value: {key:?}: name part must consist of alphanumeric characters, '-', '_' or '.'"
                ),
            );
        }
        if !is_label_value(value) {
            wrong("metadata.labels".to_owned(), format!("Invalid value: {value:?}: {LABEL_VALUE}"));
        }
    }
}

fn bad_name(kind: &Kind, name: &str) -> Option<&'static str> {
    let (is_good, rule) = match kind.plural {
        // RFC 1035 wants a letter first, for Services.
        "services" => {
            (is_label(name) && name.starts_with(|it: char| it.is_ascii_lowercase()), LABEL)
        }
        "namespaces" => (is_label(name), LABEL),
        _ => (name.len() <= 253 && name.split('.').all(is_part), SUBDOMAIN),
    };
    (!is_good).then_some(rule)
}

fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_part(text)
}

fn is_part(text: &str) -> bool {
    let inner = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Whether a text may be a label's value.
pub(crate) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_name_part(text)
}

/// Whether a text may be a label's key.
pub(crate) fn is_qualified_name(text: &str) -> bool {
    match text.split_once('/') {
        None => is_name_part(text),
        Some((prefix, name)) => prefix.split('.').all(is_part) && is_name_part(name),
    }
}

fn is_name_part(text: &str) -> bool {
    let edge = |it: Option<u8>| it.is_some_and(|it| it.is_ascii_alphanumeric());
    let inner = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.');
    text.len() <= 63
        && text.bytes().all(inner)
        && edge(text.bytes().next())
        && edge(text.bytes().last())
}

/// Whether a number may be a port's.
pub(crate) fn is_port(value: &Value) -> bool {
    value.as_u64().is_some_and(|it| (1..=65_535).contains(&it))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::kinds::{NAMESPACES, PODS, SERVICES};
    use super::*;

    fn is_good(kind: &Kind, name: &str) -> bool {
        let mut mistakes = Vec::new();
        metadata(kind, &json!({ "metadata": { "name": name } }), &mut mistakes);
        mistakes.is_empty()
    }

    #[test]
    fn names_are_those_of_dns() {
        for name in ["a", "a.b-c.1", "0"] {
            assert!(is_good(&PODS, name), "{name}");
        }
        for name in ["", "A", "-a", "a-", "a..b", "a_b", "a/b", &"x".repeat(254)] {
            assert!(!is_good(&PODS, name), "{name}");
        }
        assert!(!is_good(&NAMESPACES, "a.b") && !is_good(&NAMESPACES, &"x".repeat(64)));
        assert!(is_good(&NAMESPACES, "0a") && !is_good(&SERVICES, "0a"));
    }

    #[test]
    fn labels_are_checked() {
        for (key, value) in [("app", "web"), ("x.io/app", ""), ("a_b", "A.b_c-1")] {
            assert!(is_qualified_name(key) && is_label_value(value), "{key}={value}");
        }
        assert!(!is_qualified_name("/a") && !is_qualified_name("a/b/c") && !is_label_value("-a"));
        assert!(!is_label_value("a b") && !is_label_value(&"x".repeat(64)));
    }
}
