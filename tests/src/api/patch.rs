//! The four ways to change an object by saying only what becomes different.

use std::collections::BTreeMap;

use serde_json::Value;

use super::status::Refusal;
use super::strategic;

/// A change.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Patch {
    /// RFC 6902.
    Json(json_patch::Patch),
    /// RFC 7386.
    Merge(Value),
    /// Like [`Self::Merge`], lists of named things being merged by their names.
    Strategic(Value),
    /// Server-side apply: all that its manager wants.
    Apply(Value),
}

impl Patch {
    /// Reads a request's body.
    pub(crate) fn read(content_type: &str, body: &[u8]) -> Result<Self, Refusal> {
        let wrong = |error: &dyn std::fmt::Display| {
            let message = format!("error decoding patch: {error}");
            Refusal::new(400, "BadRequest", message)
        };
        let json = || serde_json::from_slice::<Value>(body).map_err(|error| wrong(&error));
        Ok(match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => {
                Self::Json(serde_json::from_slice(body).map_err(|error| wrong(&error))?)
            }
            "application/merge-patch+json" => Self::Merge(json()?),
            "application/strategic-merge-patch+json" => Self::Strategic(json()?),
            "application/apply-patch+yaml" => {
                Self::Apply(yaml(body).map_err(|error| wrong(&error))?)
            }
            other => {
                let message =
                    format!("the body of the request was in an unknown format: {other:?}");
                return Err(Refusal::new(415, "UnsupportedMediaType", message));
            }
        })
    }

    /// Changes an object. `applied` is what the same manager applied before, for [`Self::Apply`].
    pub(crate) fn apply(&self, object: &mut Value, applied: Option<&Value>) -> Result<(), Refusal> {
        match self {
            Self::Json(patch) => json_patch::patch(object, patch).map_err(|error| {
                let message = format!(
                    "the server rejected our request due to an error in our request: {error}"
                );
                Refusal::new(422, "Invalid", message)
            })?,
            Self::Merge(patch) => json_patch::merge(object, patch),
            Self::Strategic(patch) => strategic::merge(object, patch),
            Self::Apply(wanted) => {
                if let Some(before) = applied {
                    forget(object, before, wanted);
                }
                strategic::merge(object, wanted);
            }
        }
        Ok(())
    }
}

/// JSON or YAML, which kube's clients and kubectl send.
fn yaml(body: &[u8]) -> Result<Value, String> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

/// Removes what a manager wanted before and wants no longer.
fn forget(object: &mut Value, before: &Value, wanted: &Value) {
    match (object, before) {
        (Value::Object(object), Value::Object(before)) => {
            for (key, old) in before {
                match (object.get_mut(key), wanted.get(key)) {
                    (Some(_), None) => drop(object.remove(key)),
                    (Some(inner), Some(wanted)) => forget(inner, old, wanted),
                    (None, _) => {}
                }
            }
        }
        (Value::Array(object), Value::Array(before)) => {
            let names = |items: &[Value]| -> Option<BTreeMap<String, Value>> {
                let name = |item: &Value| Some((strategic::name_of(item)?, item.clone()));
                items.iter().map(name).collect()
            };
            let wanted = wanted.as_array().map(Vec::as_slice).unwrap_or_default();
            let (Some(before), Some(wanted)) = (names(before), names(wanted)) else { return };
            object.retain(|item| {
                strategic::name_of(item)
                    .is_none_or(|name| wanted.contains_key(&name) || !before.contains_key(&name))
            });
            for item in object {
                let name = strategic::name_of(item);
                let both = name.and_then(|name| Some((before.get(&name)?, wanted.get(&name)?)));
                if let Some((before, wanted)) = both {
                    forget(item, before, wanted);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_manager_no_longer_applies_goes() {
        let mut object = json!({
            "metadata": { "labels": { "a": "1", "b": "2", "other": "x" } },
            "spec": { "containers": [{ "name": "one", "image": "i" }, { "name": "two" }] },
        });
        let before = json!({
            "metadata": { "labels": { "a": "1", "b": "2" } },
            "spec": { "containers": [{ "name": "one" }, { "name": "two" }] },
        });
        let wanted = json!({
            "metadata": { "labels": { "a": "3" } },
            "spec": { "containers": [{ "name": "one" }] },
        });
        Patch::Apply(wanted).apply(&mut object, Some(&before)).unwrap();
        let expected = json!({
            "metadata": { "labels": { "a": "3", "other": "x" } },
            "spec": { "containers": [{ "name": "one", "image": "i" }] },
        });
        assert_eq!(object, expected);
    }

    #[test]
    fn a_patch_is_told_by_its_content_type() {
        let read = |what: &str, body: &str| Patch::read(what, body.as_bytes());
        assert!(matches!(
            read("application/merge-patch+json; charset=utf-8", "{}"),
            Ok(Patch::Merge(_))
        ));
        let yaml = read("application/apply-patch+yaml", "metadata:\n  name: a\n").unwrap();
        assert_eq!(yaml, Patch::Apply(json!({ "metadata": { "name": "a" } })));
        assert_eq!(read("text/plain", "{}").unwrap_err().code, 415);
        assert_eq!(read("application/json-patch+json", "{}").unwrap_err().code, 400);
    }

    #[test]
    fn a_json_patch_that_does_not_fit_is_refused() {
        let patch =
            Patch::read("application/json-patch+json", br#"[{"op":"test","path":"/a","value":1}]"#);
        assert_eq!(patch.unwrap().apply(&mut json!({ "a": 2 }), None).unwrap_err().code, 422);
    }
}
