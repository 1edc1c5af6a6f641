//! Policies whose form is right, but whose meaning probably is not.

use serde_json::{Map, Value, json};

use super::estate::{Estate, Subject, WrittenRule};
use super::finding::Finding;

pub(super) const SPLIT_PEER: &str = "split-peer";
pub(super) const SPLIT_RULE: &str = "split-rule";
pub(super) const EMPTY_MEANS_ALL: &str = "empty-means-all";
pub(super) const MISSING_POD_SELECTOR: &str = "missing-pod-selector";
pub(super) const NAMESPACE_NAME: &str = "namespace-name";

/// The label that Kubernetes puts on every namespace.
const METADATA_NAME: &str = "kubernetes.io/metadata.name";
/// Peers that a rule with a slip of the hand has at most.
const FEW: usize = 2;
/// The port of name servers: a rule of its own for it is common.
const DNS: u64 = 53;

pub(super) fn lint(estate: &Estate<'_>, subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    pod_selector(subject.json, &mut found);
    let rules = subject.rules();
    for (index, rule) in rules.iter().enumerate() {
        empty(rule, &mut found);
        split_peer(rule, &mut found);
        for (path, peer) in rule.peer_list() {
            null_selector(&path, peer, &mut found);
            namespace_name(estate, &path, peer, &mut found);
        }
        let next = rules.get(index + 1).filter(|it| it.peers == rule.peers);
        found.extend(next.and_then(|next| split_rule(rule, next)));
    }
    found
}

/// A policy without `podSelector` selects every pod.
fn pod_selector(json: &Value, found: &mut Vec<Finding>) {
    let Some(spec) = json.get("spec").and_then(Value::as_object) else { return };
    if spec.get("podSelector").is_none_or(Value::is_null) {
        let message = "without `podSelector` the policy selects every pod of its namespace";
        let finding = Finding::new(MISSING_POD_SELECTOR, "spec.podSelector", message);
        found.push(finding.snippet(&json!({"podSelector": {}})));
    }
}

/// `from:` without entries, and rules and entries that are `null`.
fn empty(rule: &WrittenRule<'_>, found: &mut Vec<Finding>) {
    if rule.json.is_null() {
        let message = "an entry without content allows everything";
        let finding = Finding::new(EMPTY_MEANS_ALL, &rule.path, message);
        return found.push(finding.snippet(&json!([{}])));
    }
    for (field, what) in [(rule.peers, "every peer"), ("ports", "every port")] {
        let is_empty = |it: &Value| it.is_null() || it.as_array().is_some_and(Vec::is_empty);
        if rule.json.get(field).is_some_and(is_empty) {
            let mut right = rule.json.as_object().cloned().unwrap_or_default();
            right.remove(field);
            let message =
                format!("`{field}` without entries allows {what}; leave it out if that is meant");
            let finding = Finding::new(EMPTY_MEANS_ALL, format!("{}.{field}", rule.path), message);
            found.push(finding.snippet(&json!([right])));
        }
    }
    let is_empty = |it: &Value| it.is_null() || it.as_object().is_some_and(Map::is_empty);
    for (path, _) in rule.list("ports").filter(|(_, it)| is_empty(it)) {
        let message = "an entry without content allows every TCP port";
        let finding = Finding::new(EMPTY_MEANS_ALL, path, message);
        found.push(finding.snippet(&json!([{"protocol": "TCP"}])));
    }
}

/// `podSelector:` without a value beside another selector.
fn null_selector(path: &str, peer: &Value, found: &mut Vec<Finding>) {
    for field in ["podSelector", "namespaceSelector", "ipBlock"] {
        let others = peer
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, it)| *key != field && !it.is_null());
        if peer.get(field).is_some_and(Value::is_null) && others.count() > 0 {
            let message = format!("`{field}` without a value counts as absent");
            let mut right = peer.as_object().cloned().unwrap_or_default();
            right.remove(field);
            let finding = Finding::new(EMPTY_MEANS_ALL, format!("{path}.{field}"), message);
            found.push(finding.snippet(&json!([right])));
        }
    }
}

/// Two entries where one with both selectors is meant.
fn split_peer(rule: &WrittenRule<'_>, found: &mut Vec<Finding>) {
    let peers: Vec<_> = rule.peer_list().collect();
    for pair in peers.windows(2) {
        let [(_, first), (path, second)] = pair else { continue };
        let only = |peer: &Value, field: &str| {
            let fields = peer.as_object().filter(|it| it.len() == 1);
            fields.and_then(|it| it.get(field)).and_then(Value::as_object).cloned()
        };
        let Some(namespaces) = only(first, "namespaceSelector") else { continue };
        let Some(pods) = only(second, "podSelector").filter(|it| !it.is_empty()) else { continue };
        // With more entries they are alternatives more likely than not, unless the first one alone makes
        // the second useless.
        if peers.len() > 2 && !namespaces.is_empty() {
            continue;
        }
        let message = format!(
            "two entries of `{}` mean *or*: {}, and also these pods of the policy's own namespace; for \
             *and*, write one entry",
            rule.peers,
            if namespaces.is_empty() {
                "every pod of the cluster"
            } else {
                "every pod of these namespaces"
            }
        );
        let one = json!({ rule.peers: [{"namespaceSelector": namespaces, "podSelector": pods}] });
        found.push(Finding::new(SPLIT_PEER, path, message).snippet(&one));
    }
}

/// `- ports:` in a rule of its own after a rule with only peers: one dash too many.
fn split_rule(rule: &WrittenRule<'_>, next: &WrittenRule<'_>) -> Option<Finding> {
    let has_only = |rule: &WrittenRule<'_>, field: &str| {
        let fields = rule.json.as_object().filter(|it| it.len() == 1)?;
        fields.get(field).and_then(Value::as_array).filter(|it| !it.is_empty()).cloned()
    };
    // A long list was written with care.
    let peers = has_only(rule, rule.peers).filter(|it| it.len() <= FEW)?;
    let ports = has_only(next, "ports")?;
    let is_dns = |it: &Value| it.get("port").and_then(Value::as_u64) == Some(DNS);
    if ports.iter().all(is_dns) {
        return None;
    }
    let message = format!(
        "two rules: the one before allows these peers every port, this one allows every peer these ports; \
         for both conditions together, remove the dash before `ports`, and write one rule with `{}` and \
         `ports`",
        rule.peers
    );
    let one = json!([{ rule.peers: peers, "ports": ports }]);
    Some(Finding::new(SPLIT_RULE, &next.path, message).snippet(&one))
}

/// `namespaceSelector: {matchLabels: {name: x}}`: nothing puts such a label on namespaces.
fn namespace_name(estate: &Estate<'_>, path: &str, peer: &Value, found: &mut Vec<Finding>) {
    let name = peer.pointer("/namespaceSelector/matchLabels/name").and_then(Value::as_str);
    let Some(name) = name else { return };
    let has =
        |it: &enforcer_core::model::Namespace| it.labels.get("name").is_some_and(|it| it == name);
    if estate.cluster.namespaces.values().any(has) {
        return;
    }
    let message = format!(
        "no namespace has a label `name` unless someone adds it; Kubernetes itself adds {METADATA_NAME}"
    );
    let mut labels = peer.pointer("/namespaceSelector/matchLabels").cloned().unwrap_or_default();
    if let Some(labels) = labels.as_object_mut() {
        labels.remove("name");
        labels.insert(METADATA_NAME.to_owned(), name.into());
    }
    let at = format!("{path}.namespaceSelector.matchLabels.name");
    let right = json!({"namespaceSelector": {"matchLabels": labels}});
    found.push(Finding::new(NAMESPACE_NAME, at, message).snippet(&right));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::fixture::{found, policy, snippet};

    fn spec(text: &str) -> String {
        policy(&format!("podSelector: {{}}\n{text}"))
    }

    const NS: &str = "{namespaceSelector: {matchLabels: {team: a}}}";
    const PODS: &str = "{podSelector: {matchLabels: {app: b}}}";

    #[test]
    fn split_peers() {
        let text = spec(&format!("ingress: [{{from: [{NS}, {PODS}]}}]"));
        assert_eq!(found(&text), [(SPLIT_PEER, "spec.ingress[0].from[1]".to_owned())]);
        insta::assert_snapshot!(snippet(&text), @"
        from:
        - namespaceSelector:
            matchLabels:
              team: a
          podSelector:
            matchLabels:
              app: b
        ");
        let all = format!(
            "egress: [{{to: [{PODS}, {{namespaceSelector: {{}}}}, {PODS}], ports: [{{port: 53, protocol: UDP}}]}}]"
        );
        let lints: Vec<_> = found(&spec(&all)).into_iter().map(|it| it.0).collect();
        assert!(lints.contains(&SPLIT_PEER), "{lints:?}");
        for peers in [
            format!("{PODS}, {NS}"),
            format!("{NS}, {{podSelector: {{}}}}"),
            format!("{NS}, {NS}b").replace("}}b", "}, podSelector: {}}"),
            format!("{NS}, {PODS}, {{ipBlock: {{cidr: 10.0.0.0/8}}}}"),
        ] {
            let lints: Vec<_> = found(&spec(&format!("ingress: [{{from: [{peers}]}}]")));
            assert!(lints.iter().all(|it| it.0 != SPLIT_PEER), "{peers}: {lints:?}");
        }
    }

    #[test]
    fn split_rules() {
        let text = spec(&format!("ingress: [{{from: [{PODS}]}}, {{ports: [{{port: 80}}]}}]"));
        assert_eq!(found(&text), [(SPLIT_RULE, "spec.ingress[1]".to_owned())]);
        assert!(snippet(&text).starts_with("- from:"));
        for rules in [
            format!(
                "egress: [{{to: [{PODS}]}}, {{ports: [{{port: 53}}, {{port: 53, protocol: UDP}}]}}]"
            ),
            format!(
                "ingress: [{{from: [{PODS}, {NS}, {{podSelector: {{}}}}]}}, {{ports: [{{port: 80}}]}}]"
            ),
            format!("ingress: [{{ports: [{{port: 80}}]}}, {{from: [{PODS}]}}]"),
            format!(
                "ingress: [{{from: [{PODS}], ports: [{{port: 81}}]}}, {{ports: [{{port: 80}}]}}]"
            ),
        ] {
            assert_eq!(found(&spec(&rules)), [], "{rules}");
        }
    }

    #[test]
    fn empty_lists_and_missing_selectors() {
        for (text, path) in [
            ("ingress: [~]", "spec.ingress[0]"),
            ("ingress: [{from: ~}]", "spec.ingress[0].from"),
            ("egress: [{to: []}]", "spec.egress[0].to"),
            ("ingress: [{ports: ~}]", "spec.ingress[0].ports"),
            ("ingress: [{ports: [{}]}]", "spec.ingress[0].ports[0]"),
            (
                "ingress: [{from: [{namespaceSelector: {}, podSelector: ~}]}]",
                "spec.ingress[0].from[0].podSelector",
            ),
        ] {
            assert_eq!(found(&spec(text)), [(EMPTY_MEANS_ALL, path.to_owned())], "{text}");
        }
        for text in
            ["ingress: [{}]", "ingress: []", "egress: ~", "ingress: [{ports: [{port: 80}]}]"]
        {
            assert_eq!(found(&spec(text)), [], "{text}");
        }
        let selector = [(MISSING_POD_SELECTOR, "spec.podSelector".to_owned())];
        assert_eq!(found(&policy("ingress: []")), selector);
        assert_eq!(found(&policy("podSelector: ~")), selector);
    }

    #[test]
    fn names_of_namespaces() {
        let text =
            spec("ingress: [{from: [{namespaceSelector: {matchLabels: {name: a, team: b}}}]}]");
        let at = "spec.ingress[0].from[0].namespaceSelector.matchLabels.name";
        assert_eq!(found(&text), [(NAMESPACE_NAME, at.to_owned())]);
        insta::assert_snapshot!(snippet(&text), @"
        namespaceSelector:
          matchLabels:
            kubernetes.io/metadata.name: a
            team: b
        ");
        let labelled = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: a, labels: {{name: a}}}}\n{text}"
        );
        assert_eq!(found(&labelled), []);
    }
}
