//! The stand-in for a policy that never was without errors.

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::Deserialize as _;
use serde_json::Value;

use super::policy::closed_policy;
use enforcer_core::model;

/// The fields of a specification.
const FIELDS: [&str; 4] = ["podSelector", "ingress", "egress", "policyTypes"];

/// The stand-in for a policy that does not even fit its type: it isolates the selected pods and allows
/// nothing (semantics R9). What can't be read selects as much as it could: a selector all pods of the
/// namespace, a direction both. A policy without a name gets `unnamed`.
#[must_use]
pub fn closed_policy_of(json: &Value, unnamed: &str) -> model::Policy {
    let text = |path| json.pointer(path).and_then(Value::as_str).filter(|it| !it.is_empty());
    let name = text("/metadata/name").unwrap_or(unnamed).to_owned();
    let metadata = ObjectMeta {
        name: Some(name),
        namespace: text("/metadata/namespace").map(ToOwned::to_owned),
        ..ObjectMeta::default()
    };
    let spec = json.get("spec").filter(|it| !it.is_null());
    let selector = spec.and_then(|it| it.get("podSelector")).filter(|it| !it.is_null());
    let selector = selector.and_then(|it| LabelSelector::deserialize(it).ok());
    let types = spec.map_or(Some(Vec::new()), types);
    let both = || vec!["Ingress".to_owned(), "Egress".to_owned()];
    let spec = NetworkPolicySpec {
        pod_selector: selector.filter(|_| spec.is_none_or(has_whole_selector)),
        policy_types: Some(types.unwrap_or_else(both)),
        ..NetworkPolicySpec::default()
    };
    closed_policy(&NetworkPolicy { metadata, spec: Some(spec) })
}

/// Whether the selector has no unknown field, which may be a misspelt condition.
fn has_whole_selector(spec: &Value) -> bool {
    let written = spec.get("podSelector").and_then(Value::as_object);
    let known = ["matchLabels", "matchExpressions"];
    written.is_none_or(|it| it.keys().all(|key| known.contains(&key.as_str())))
}

/// The policy types; `None` if the directions can't be known.
pub(super) fn types(spec: &Value) -> Option<Vec<String>> {
    let fields = spec.as_object()?;
    if fields.keys().any(|it| !FIELDS.contains(&it.as_str())) {
        return None;
    }
    let given = |name| fields.get(name).filter(|it| !it.is_null());
    let types = match given("policyTypes") {
        Some(types) => Vec::<String>::deserialize(types).ok()?,
        None => Vec::new(),
    };
    if !types.is_empty() {
        return Some(types);
    }
    let is_empty = |it: &Value| it.as_array().is_some_and(Vec::is_empty);
    let mut types = vec!["Ingress".to_owned()];
    types.extend(given("egress").filter(|it| !is_empty(it)).map(|_| "Egress".to_owned()));
    Some(types)
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals read best as plain arguments")]
mod tests {
    use serde_json::json;

    use super::*;

    /// Name, requirements of the selector, ingress, egress.
    fn closed(spec: Value) -> (String, usize, bool, bool) {
        let json = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec});
        let policy = closed_policy_of(&json, "?");
        assert!(policy.ingress.iter().chain(&policy.egress).all(Vec::is_empty));
        let id = policy.id.to_string();
        (id, policy.subjects.requirements.len(), policy.ingress.is_some(), policy.egress.is_some())
    }

    fn expect(spec: Value, selector: usize, ingress: bool, egress: bool) {
        let shown = spec.to_string();
        assert_eq!(closed(spec), ("n/p".to_owned(), selector, ingress, egress), "{shown}");
    }

    #[test]
    fn r9_what_can_be_read_counts() {
        let selector = json!({"matchLabels": {"app": "web"}});
        expect(json!({"podSelector": selector, "ingress": [{"from": 1}]}), 1, true, false);
        expect(json!({"podSelector": selector, "egress": [{"to": 1}]}), 1, true, true);
        expect(json!({"podSelector": selector, "policyTypes": ["Egress"]}), 1, false, true);
        expect(json!({"podSelector": selector, "egress": []}), 1, true, false);
        expect(json!(null), 0, true, false);
    }

    #[test]
    fn r9_what_can_not_be_read_selects_as_much_as_it_could() {
        let selector = json!({"matchLabels": {"app": "web"}});
        expect(json!({"podSelector": {"matchLabels": {"app": 1}}}), 0, true, false);
        expect(json!({"podSelector": {"matchLabels": {"app": "-"}}}), 0, true, false);
        expect(json!({"podSelector": {"app": "web"}}), 0, true, false);
        expect(json!({"podSelector": [], "policyTypes": ["Egress"]}), 0, false, true);
        expect(json!({"podSelector": selector, "policyTypes": ["egres"]}), 1, true, true);
        expect(json!({"podSelector": selector, "policyTypes": "Egress"}), 1, true, true);
        expect(json!({"podSelector": selector, "egres": [{}]}), 1, true, true);
        expect(json!([{"podSelector": selector}]), 0, true, true);
        expect(json!({"podSelector": selector, "egress": {"to": []}}), 1, true, true);
    }

    #[test]
    fn a_policy_without_a_name_isolates_too() {
        let policy = closed_policy_of(&json!({"metadata": {"name": 1}}), "(a.yaml:1)");
        assert_eq!(policy.id.to_string(), "default/(a.yaml:1)");
    }
}
