//! The four kinds of patches.

use std::collections::BTreeMap;

use serde_json::Value;

use super::status::Refusal;
use super::strategic;

/// A patch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Patch {
    /// RFC 6902.
    Json(json_patch::Patch),
    /// RFC 7386.
    Merge(Value),
    /// Like [`Self::Merge`], but lists of named items are merged by name.
    Strategic(Value),
    /// Server-side apply: the complete configuration of one manager.
    Apply(Value),
}

impl Patch {
    pub(crate) fn read(content_type: &str, body: &[u8]) -> Result<Self, Refusal> {
        let wrong = |error: &dyn std::fmt::Display| {
            Refusal::bad_request(format!("error decoding patch: {error}"))
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

    /// Changes an object. `applied` is the manager's last configuration, for [`Self::Apply`].
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
                    remove_unwanted(object, before, wanted);
                }
                strategic::merge(object, wanted);
            }
        }
        Ok(())
    }
}

/// Parses JSON (from kube's clients) or YAML (from kubectl).
fn yaml(body: &[u8]) -> Result<Value, String> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

/// Removes the fields that are in a manager's last configuration but not in the new one.
fn remove_unwanted(object: &mut Value, before: &Value, wanted: &Value) {
    match (object, before) {
        (Value::Object(object), Value::Object(before)) => {
            for (key, old) in before {
                match (object.get_mut(key), wanted.get(key)) {
                    (Some(_), None) => drop(object.remove(key)),
                    (Some(inner), Some(wanted)) => remove_unwanted(inner, old, wanted),
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
                    remove_unwanted(item, before, wanted);
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
    fn fields_that_a_manager_no_longer_applies_are_removed() {
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
    fn the_content_type_decides_the_kind_of_patch() {
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
