//! `null` inside of lists and mappings, as the API server reads it.
//!
//! Go's JSON decoder gives such an element the zero value of its type: an empty mapping, or an empty
//! string. For a field of its own, `null` means absent, which the types of this program know. Pure.

use serde_json::Value;

/// Lists of strings. Others are lists of mappings.
const STRINGS: [&str; 8] = [
    "except",
    "policyTypes",
    "values",
    "finalizers",
    "clusterIPs",
    "externalIPs",
    "command",
    "args",
];
/// Mappings with values of the user's choice: strings.
const WORDS: [&str; 4] = ["labels", "annotations", "matchLabels", "nodeSelector"];

/// Replaces each `null` that is an element.
pub(super) fn replace(json: &mut Value, kind: &str) {
    fields(json, kind, "");
}

fn fields(json: &mut Value, kind: &str, name: &str) {
    match json {
        Value::Array(items) => {
            for item in items {
                if item.is_null() {
                    *item = match STRINGS.contains(&name) {
                        true => Value::String(String::new()),
                        false => Value::Object(serde_json::Map::new()),
                    };
                }
                fields(item, kind, name);
            }
        }
        Value::Object(entries) => {
            let words = WORDS.contains(&name) || (kind == "Service" && name == "selector");
            for (key, value) in entries {
                if words && value.is_null() {
                    *value = Value::String(String::new());
                }
                fields(value, kind, key);
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
    fn elements_get_their_zero_value() {
        let mut json = json!({
            "metadata": {"labels": {"a": null}, "namespace": null},
            "spec": {
                "podSelector": {"matchLabels": {"a": null}},
                "ingress": [null, {"from": [null], "ports": [null]}],
                "policyTypes": [null],
                "egress": null,
            },
        });
        replace(&mut json, "NetworkPolicy");
        let expected = json!({
            "metadata": {"labels": {"a": ""}, "namespace": null},
            "spec": {
                "podSelector": {"matchLabels": {"a": ""}},
                "ingress": [{}, {"from": [{}], "ports": [{}]}],
                "policyTypes": [""],
                "egress": null,
            },
        });
        assert_eq!(json, expected);
        let mut json = json!({"spec": {"selector": {"a": null}}});
        replace(&mut json, "Service");
        assert_eq!(json, json!({"spec": {"selector": {"a": ""}}}));
        let mut json = json!({"spec": {"selector": {"matchLabels": null}}});
        replace(&mut json, "Deployment");
        assert_eq!(json, json!({"spec": {"selector": {"matchLabels": null}}}));
    }
}
