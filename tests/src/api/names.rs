//! The syntax of objects' names.

use serde_json::Value;

use super::kinds::Kind;
use super::object;

/// A field, and the fault in it.
pub(crate) type Mistake = (String, String);

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
    characters, '-' or '.', and must start and end with an alphanumeric character";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters \
    or '-', and must start and end with an alphanumeric character";

pub(crate) fn check(kind: &Kind, object: &Value, mistakes: &mut Vec<Mistake>) {
    let name = object::text(object, "/metadata/name");
    let why = if name.is_empty() {
        "Required value: name or generateName is required".to_owned()
    } else if let Some(why) = bad_name(kind, name) {
        format!("Invalid value: {name:?}: {why}")
    } else {
        return;
    };
    mistakes.push(("metadata.name".to_owned(), why));
}

fn bad_name(kind: &Kind, name: &str) -> Option<&'static str> {
    let (is_good, rule) = match kind.plural {
        // RFC 1035 requires a letter first, for Services.
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::kinds::{NAMESPACES, PODS, SERVICES};
    use super::*;

    fn is_good(kind: &Kind, name: &str) -> bool {
        let mut mistakes = Vec::new();
        check(kind, &json!({ "metadata": { "name": name } }), &mut mistakes);
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
}
