use serde_json::{Value, json};

use super::*;
use crate::source::remark::Severity;

fn convert(spec: Value) -> Converted<model::Policy> {
    let object = json!({"metadata": {"name": "p"}, "spec": spec});
    policy(&serde_json::from_value(object).unwrap())
}

fn good(spec: Value) -> model::Policy {
    convert(spec).good()
}

fn peer_of(peer: Value) -> Peer {
    good(json!({"ingress": [{"from": [peer]}]})).ingress.unwrap()[0].peers[0].clone()
}

fn error(spec: Value) -> String {
    let converted = convert(spec);
    assert_eq!(converted.value, None);
    assert_eq!(converted.problems.len(), 1, "{:?}", converted.problems);
    converted.problems[0].to_string()
}

#[test]
fn s3_default_types() {
    let types = |spec| {
        let policy = good(spec);
        (policy.ingress.is_some(), policy.egress.is_some())
    };
    assert_eq!(types(json!({"podSelector": {}})), (true, false));
    assert_eq!(types(json!({"egress": []})), (true, false));
    assert_eq!(types(json!({"egress": [{}]})), (true, true));
    assert_eq!(types(json!({"policyTypes": [], "egress": [{}]})), (true, true));
    assert_eq!(types(json!({"policyTypes": ["Egress"]})), (false, true));
    assert_eq!(types(json!({"policyTypes": ["Ingress", "Egress"]})), (true, true));
}

#[test]
fn only_true_puts_a_policy_in_audit() {
    for (value, audit, warnings) in [("true", true, 0), ("false", false, 0), ("True", false, 1)] {
        let metadata = json!({"name": "p", "annotations": {model::AUDIT_ANNOTATION: value}});
        let object = json!({"metadata": metadata, "spec": {"podSelector": {}}});
        let object = serde_json::from_value(object).unwrap();
        let converted = policy(&object);
        assert_eq!(converted.problems.len(), warnings, "{value}");
        assert!(converted.problems.iter().all(|it| it.severity == Severity::Warning));
        assert_eq!(converted.value.unwrap().audit, audit, "{value}");
        assert_eq!(closed_policy(&object).audit, audit, "{value}");
    }
}

#[test]
fn namespace_defaults_and_name_is_needed() {
    assert_eq!(good(json!({})).id, PolicyId::new("default", "p"));
    let converted = policy(&NetworkPolicy::default());
    assert_eq!(converted.value, None);
    assert_eq!(converted.paths(), ["metadata.name", "spec"]);
}

#[test]
fn s3_rules_without_their_type_have_no_effect() {
    for (field, lacking, given) in
        [("egress", "Egress", "Ingress"), ("ingress", "Ingress", "Egress")]
    {
        let converted = convert(json!({"policyTypes": [given], field: [{}]}));
        let problem = &converted.problems[0];
        assert_eq!(problem.severity, Severity::Warning);
        assert_eq!(problem.path, format!("spec.{field}"));
        assert!(problem.message.ends_with(&format!("lacks {lacking}")));
        let value = converted.value.unwrap();
        assert_eq!(value.ingress.is_some(), given == "Ingress");
        assert_eq!(value.egress.is_some(), given == "Egress");
    }
}

#[test]
fn unknown_policy_type() {
    let problem = error(json!({"policyTypes": ["Ingress", "egress"], "egress": [{}]}));
    assert!(problem.starts_with("spec.policyTypes[1]: unknown policy type `egress`"));
    assert!(problem.ends_with("(did you mean `Egress`?)"));
}

#[test]
fn r1_missing_and_empty_lists_match_everything() {
    for rule in [json!({}), json!({"from": [], "ports": []})] {
        assert_eq!(good(json!({"ingress": [rule]})).ingress, Some(vec![Rule::default()]));
    }
}

#[test]
fn r2_absent_is_not_empty() {
    let all = Selector::default;
    assert_eq!(peer_of(json!({"podSelector": {}})), Peer::Pods { namespaces: None, pods: all() });
    let everywhere = Peer::Pods { namespaces: Some(all()), pods: all() };
    assert_eq!(peer_of(json!({"namespaceSelector": {}})), everywhere);
    assert_eq!(peer_of(json!({"namespaceSelector": {}, "podSelector": {}})), everywhere);
}

#[test]
fn peers_of_nothing_or_too_much() {
    let rules = |peer| json!({"egress": [{}, {"to": [{"podSelector": {}}, peer]}]});
    assert!(error(rules(json!({}))).starts_with("spec.egress[1].to[1]: a peer needs"));
    for kind in ["podSelector", "namespaceSelector"] {
        let problem = error(rules(json!({"ipBlock": {"cidr": "10.0.0.0/8"}, kind: {}})));
        assert!(problem.starts_with("spec.egress[1].to[1]: ipBlock can't be combined"));
    }
}

#[test]
fn paths_reach_every_depth() {
    let selector = json!({"matchExpressions": [{"key": "k", "operator": "In"}]});
    let converted = convert(json!({
        "podSelector": selector,
        "ingress": [{
            "from": [
                {"podSelector": {}},
                {"ipBlock": {"cidr": "x"}},
                {"namespaceSelector": selector, "podSelector": selector},
            ],
            "ports": [{"port": 80}, {"port": 0, "protocol": "X"}],
        }],
        "egress": [{"to": [{"ipBlock": {"cidr": "::/0", "except": ["::1"]}}]}],
    }));
    assert_eq!(converted.value, None);
    assert_eq!(
        converted.paths(),
        [
            "spec.podSelector.matchExpressions[0].values",
            "spec.ingress[0].from[1].ipBlock.cidr",
            "spec.ingress[0].from[2].namespaceSelector.matchExpressions[0].values",
            "spec.ingress[0].from[2].podSelector.matchExpressions[0].values",
            "spec.ingress[0].ports[1].protocol",
            "spec.ingress[0].ports[1].port",
            "spec.egress[0].to[0].ipBlock.except[0]",
        ]
    );
}

#[test]
fn rules_without_effect_are_checked_too() {
    let rules = json!([{"to": [{}]}]);
    assert_eq!(convert(json!({"policyTypes": ["Ingress"], "egress": rules})).value, None);
}
