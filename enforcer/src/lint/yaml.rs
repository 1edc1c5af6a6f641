//! Corrected fields as YAML.

use serde_json::Value;

/// A value as YAML.
pub(super) fn text(value: &Value) -> String {
    let yaml = serde_saphyr::to_string(value).unwrap_or_else(|_| value.to_string());
    yaml.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn values_are_blocks() {
        let rule = json!({"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]});
        insta::assert_snapshot!(super::text(&rule), @"
        from:
        - podSelector:
            matchLabels:
              app: web
        ");
    }
}
