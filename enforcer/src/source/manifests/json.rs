//! What `kubectl` refuses in JSON only. Pure.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;

/// What is wrong with a JSON object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The byte of the text.
    pub(super) at: usize,
    pub(super) message: String,
}

/// The reason why `kubectl` refuses a JSON object whose keys and values it can parse: a number that is too large,
/// or, if it `repeats` keys, a value of the metadata that does not fit although a later one counts
/// (`metadataOnlyObject` in `staging/src/k8s.io/apimachinery/pkg/apis/meta/v1/unstructured/helpers.go` decodes all).
pub(super) fn refusal(source: &str, repeats: bool) -> Option<Refusal> {
    let error = serde_json::from_str::<Envelope>(source).err()?;
    if error.classify() == Category::Data && !repeats {
        // The reader of the type reports it.
        return None;
    }
    let line = source.split_inclusive('\n').take(error.line().saturating_sub(1));
    let at = line.map(str::len).sum::<usize>() + error.column().saturating_sub(1);
    let text = error.to_string();
    let (message, _) = text.rsplit_once(" at line ").unwrap_or((&text, ""));
    Some(Refusal { at, message: format!("kubectl refuses this JSON: {message}") })
}

/// An object of which `kubectl` reads kind and metadata.
struct Envelope;

impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "apiVersion" | "kind" => drop(map.next_value::<Option<String>>()?),
                "metadata" => drop(map.next_value::<Option<ObjectMeta>>()?),
                _ => drop(map.next_value::<Value>()?),
            }
        }
        Ok(Envelope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(source: &str, repeats: bool) -> Option<usize> {
        refusal(source, repeats).map(|it| it.at)
    }

    #[test]
    fn the_last_value_of_a_repeated_key_does_not_hide_the_others() {
        assert_eq!(refused(r#"{"kind": 1, "kind": "Pod"}"#, true), Some(9));
        assert!(refused("{\n\"metadata\": {\"name\": {}, \"name\": \"p\"}}", true).is_some());
        assert_eq!(
            refused(r#"{"metadata": {"name": null, "name": "p"}, "spec": 1, "spec": {}}"#, true),
            None
        );
        assert_eq!(refused(r#"{"metadata": {"name": 1}}"#, false), None);
    }

    #[test]
    fn numbers_have_a_range() {
        assert!(refused(r#"{"spec": {"a": 1e400}}"#, false).is_some());
        assert_eq!(refused(r#"{"spec": {"a": 1e300}}"#, false), None);
    }
}
