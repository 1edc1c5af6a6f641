//! Label and field selectors of requests.

use enforcer_core::model::{Requirement, Selector};
use serde_json::Value;

use super::kinds::Kind;
use super::object;
use super::status::Refusal;

/// The objects that a request selects.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Selection {
    /// Empty: all namespaces.
    pub namespace: String,
    labels: Selector,
    fields: Vec<(String, String, bool)>,
}

impl Selection {
    pub(crate) fn new(
        kind: &Kind,
        namespace: &str,
        labels: &str,
        fields: &str,
    ) -> Result<Self, Refusal> {
        let requirements = split(labels).map(requirement).collect::<Result<_, _>>()?;
        let fields = split(fields).map(|it| field(kind, it)).collect::<Result<_, _>>()?;
        Ok(Self { namespace: namespace.to_owned(), labels: Selector { requirements }, fields })
    }

    /// Whether it selects an object of the store.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        let in_namespace = self.namespace.is_empty()
            || object::text(object, "/metadata/namespace") == self.namespace;
        in_namespace && self.labels_match(object) && self.fields_match(object)
    }

    fn labels_match(&self, object: &Value) -> bool {
        self.labels.requirements.is_empty() || self.labels.matches(&object::labels(object))
    }

    fn fields_match(&self, object: &Value) -> bool {
        self.fields.iter().all(|(pointer, value, equal)| {
            let found = match object.pointer(pointer) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Null) | None => String::new(),
                Some(other) => other.to_string(),
            };
            (found == *value) == *equal
        })
    }
}

/// Splits at commas outside of parentheses.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let parts = text.split(move |it| {
        match it {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        it == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

fn requirement(text: &str) -> Result<Requirement, Refusal> {
    let wrong = || Refusal::bad_request(format!("unable to parse requirement: {text:?}"));
    if let Some(key) = text.strip_prefix('!') {
        return Ok(Requirement::DoesNotExist(key.trim().to_owned()));
    }
    if let Some((head, tail)) = text.split_once('(') {
        let values = tail.strip_suffix(')').ok_or_else(wrong)?;
        let values = values.split(',').map(|it| it.trim().to_owned()).collect();
        let mut words = head.split_whitespace();
        let key = words.next().ok_or_else(wrong)?.to_owned();
        return match words.next() {
            Some("in") => Ok(Requirement::In(key, values)),
            Some("notin") => Ok(Requirement::NotIn(key, values)),
            _ => Err(wrong()),
        };
    }
    if let Some((key, value, is_equal)) = comparison(text) {
        let (key, values) = (key.trim().to_owned(), [value.trim().to_owned()].into());
        return Ok(match is_equal {
            true => Requirement::In(key, values),
            false => Requirement::NotIn(key, values),
        });
    }
    if text.contains(char::is_whitespace) {
        return Err(wrong());
    }
    Ok(Requirement::Exists(text.to_owned()))
}

/// Both sides of `=`, `==` or `!=`, and whether they have to be equal.
fn comparison(text: &str) -> Option<(&str, &str, bool)> {
    if let Some((key, value)) = text.split_once("!=") {
        return Some((key, value, false));
    }
    let (key, value) = text.split_once("==").or_else(|| text.split_once('='))?;
    Some((key, value, true))
}

/// The fields of each kind that the real server selects by.
fn is_selectable(kind: &Kind, path: &str) -> bool {
    let own: &[&str] = match kind.plural {
        "pods" => &[
            "spec.nodeName",
            "spec.hostNetwork",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "nodes" => &["spec.unschedulable"],
        "namespaces" => &["status.phase"],
        "services" => &["spec.clusterIP", "spec.type"],
        "events" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "reason",
            "type",
            "reportingComponent",
        ],
        _ => &[],
    };
    matches!(path, "metadata.name" | "metadata.namespace") || own.contains(&path)
}

/// A field's place, the value to compare it with, and whether they have to be equal.
fn field(kind: &Kind, text: &str) -> Result<(String, String, bool), Refusal> {
    let (path, value, is_equal) = comparison(text).ok_or_else(|| {
        Refusal::bad_request(format!("invalid selector: '{text}'; can't understand '{text}'"))
    })?;
    let renamed = kind.renamed.iter().find_map(|(here, there)| {
        path.strip_prefix(here)
            .filter(|rest| rest.is_empty() || rest.starts_with('.'))
            .map(|rest| format!("{there}{rest}"))
    });
    let path = renamed.unwrap_or_else(|| path.to_owned());
    if !is_selectable(kind, &path) {
        return Err(Refusal::bad_request(format!("field label not supported: {path}")));
    }
    Ok((format!("/{}", path.replace('.', "/")), value.to_owned(), is_equal))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::kinds::PODS;
    use super::*;

    fn matches(labels: &str, fields: &str) -> bool {
        let pod = json!({
            "metadata": { "name": "a", "namespace": "x", "labels": { "app": "web", "tier": "" } },
            "spec": { "nodeName": "n1" },
        });
        Selection::new(&PODS, "", labels, fields).unwrap().matches(&pod)
    }

    #[test]
    fn labels_are_compared_as_kubectl_writes_them() {
        for right in [
            "app=web",
            "app==web",
            "app in (db, web)",
            "app,tier",
            "!role",
            "app!=db",
            "role!=x",
            "role notin (x)",
            "tier=",
            "app=web,!role",
        ] {
            assert!(matches(right, ""), "{right}");
        }
        for wrong in ["app=db", "!app", "role", "app notin (web,db)", "app=web,role", "app in ()"] {
            assert!(!matches(wrong, ""), "{wrong}");
        }
    }

    #[test]
    fn fields_are_those_of_the_real_server() {
        assert!(matches("", "spec.nodeName=n1,metadata.name=a"));
        assert!(matches("", "spec.nodeName!=n2"));
        assert!(!matches("", "metadata.namespace=y"));
        assert!(matches("", "status.phase="));
        let refused = Selection::new(&PODS, "", "", "spec.containers=1").unwrap_err();
        assert_eq!((refused.code, refused.reason), (400, "BadRequest"));
    }

    #[test]
    fn malformed_selectors_are_refused() {
        for wrong in ["a b", "a in b", "a in (b", "a like (b)"] {
            assert_eq!(Selection::new(&PODS, "", wrong, "").unwrap_err().code, 400, "{wrong}");
        }
    }
}
