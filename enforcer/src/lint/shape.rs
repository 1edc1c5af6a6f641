//! Mistakes in the form of a policy that have a frequent cause: what to write instead.

use serde_json::{Map, Value, json};

use super::estate::{Estate, Subject, WrittenRule};
use super::finding::Finding;

pub(super) const MISPLACED_PEERS: &str = "misplaced-peers";
pub(super) const PORTS_IN_PEER: &str = "ports-in-peer";
pub(super) const BARE_LABELS: &str = "bare-labels";
pub(super) const ACTION: &str = "action";
pub(super) const HOST_NAME: &str = "host-name";
pub(super) const PORT_RANGE: &str = "port-range";
pub(super) const PROTOCOL: &str = "protocol";
pub(super) const RESOURCE_VERSION: &str = "resource-version";

/// Fields of other policies that decide between allow and deny.
const ACTIONS: [&str; 7] = ["action", "deny", "allow", "order", "priority", "tier", "effect"];
/// Fields of other policies that name hosts.
const HOSTS: [&str; 13] = [
    "fqdn",
    "fqdns",
    "toFQDNs",
    "dns",
    "dnsName",
    "dnsNames",
    "domain",
    "domains",
    "domainNames",
    "host",
    "hostname",
    "hosts",
    "matchName",
];
/// What this API calls a wildcard nowhere.
const EVERY_PROTOCOL: [&str; 4] = ["ANY", "ALL", "*", "-1"];

pub(super) fn lint(_: &Estate<'_>, subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let spec = subject.json.get("spec").unwrap_or(&Value::Null);
    found.extend(resource_version(subject.json));
    foreign_fields(spec, "spec", &mut found);
    bare_labels(spec, "podSelector", "spec", &mut found);
    for rule in subject.rules() {
        foreign_fields(rule.json, &rule.path, &mut found);
        misplaced_peers(&rule, &mut found);
        for (path, peer) in rule.peer_list() {
            foreign_fields(peer, &path, &mut found);
            ports_in_peer(&rule, &path, peer, &mut found);
            host_as_block(&path, peer, &mut found);
            for selector in ["podSelector", "namespaceSelector"] {
                bare_labels(peer, selector, &path, &mut found);
            }
        }
        for (path, port) in rule.list("ports") {
            range(&path, port, &mut found);
            protocol(&rule, &path, port, &mut found);
        }
    }
    found
}

/// A version that `kubectl get -o yaml` has written. A lint, since the policy means the same without it.
fn resource_version(policy: &Value) -> Option<Finding> {
    const PATH: &str = "metadata.resourceVersion";
    let version = policy.pointer("/metadata/resourceVersion")?.as_str()?;
    let message = "the API server refuses a new object with a version; remove it";
    let mut right = policy.get("metadata").cloned().unwrap_or_default();
    let fields = ["resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"];
    if let Some(metadata) = right.as_object_mut() {
        metadata.retain(|key, _| !fields.contains(&key.as_str()));
    }
    let right = json!({ "metadata": right });
    (!version.is_empty()).then(|| Finding::error(RESOURCE_VERSION, PATH, message).snippet(&right))
}

/// `action: Deny`, `fqdn: example.org`.
fn foreign_fields(value: &Value, path: &str, found: &mut Vec<Finding>) {
    for key in value.as_object().into_iter().flat_map(Map::keys) {
        if ACTIONS.contains(&key.as_str()) {
            let message = "a NetworkPolicy has no actions: its rules only allow, and what no rule \
                           allows is denied once a policy selects the pod; remove the field, and the \
                           rules that should deny";
            let finding = Finding::error(ACTION, format!("{path}.{key}"), message);
            found.push(finding.snippet(&without_action(value, path)));
        }
        if HOSTS.contains(&key.as_str()) {
            // A peer that is nothing but a host has no other error.
            let covers = vec![path.to_owned()];
            found.push(Finding { covers, ..host_name(format!("{path}.{key}")) });
        }
    }
}

/// An object without the fields of other policies; instead of a rule or peer that denies, what denies.
fn without_action(value: &Value, path: &str) -> Value {
    let denies = |key: &str| {
        let is_word = |it: &str| it.eq_ignore_ascii_case("deny") || it.eq_ignore_ascii_case("drop");
        value.get(key).is_some_and(|it| it.as_str().is_some_and(is_word))
    };
    let direction = if path.starts_with("spec.egress") { "egress" } else { "ingress" };
    if value.get("deny").is_some() || ACTIONS.iter().any(|it| denies(it)) {
        let kind = if direction == "egress" { "Egress" } else { "Ingress" };
        return json!({"policyTypes": [kind], direction: []});
    }
    let mut right = value.clone();
    if let Some(fields) = right.as_object_mut() {
        fields.retain(|key, _| !ACTIONS.contains(&key.as_str()));
    }
    if path.ends_with(']') { json!([right]) } else { right }
}

fn host_name(path: String) -> Finding {
    let message = "a NetworkPolicy knows no host names: write the addresses as ipBlock, or allow the port \
                   to every address";
    let block = json!({"ipBlock": {"cidr": "203.0.113.0/24"}});
    Finding::error(HOST_NAME, path, message).snippet(&json!([block]))
}

/// `cidr: example.org`.
fn host_as_block(path: &str, peer: &Value, found: &mut Vec<Finding>) {
    let Some(block) = peer.pointer("/ipBlock/cidr").and_then(Value::as_str) else { return };
    let last = block.rsplit('.').next().unwrap_or_default();
    let is_word = last.len() > 1 && last.bytes().all(|it| it.is_ascii_alphabetic());
    if is_word && block.contains('.') && !block.contains(['/', ':', ' ']) {
        found.push(host_name(format!("{path}.ipBlock.cidr")));
    }
}

/// `to` under ingress, `from` under egress.
fn misplaced_peers(rule: &WrittenRule<'_>, found: &mut Vec<Finding>) {
    let (wrong, direction) = match rule.peers {
        "from" => ("to", "an ingress"),
        _ => ("from", "an egress"),
    };
    let Some(fields) = rule.json.as_object().filter(|it| it.contains_key(wrong)) else { return };
    let message = format!("{direction} rule names its peers in `{}`, not in `{wrong}`", rule.peers);
    let mut right = fields.clone();
    let peers = right.remove(wrong).unwrap_or_default();
    right.entry(rule.peers).or_insert(peers);
    let finding = Finding::error(MISPLACED_PEERS, format!("{}.{wrong}", rule.path), message);
    found.push(finding.snippet(&json!([right])));
}

/// Ports inside of a peer: one indentation too deep.
fn ports_in_peer(rule: &WrittenRule<'_>, path: &str, peer: &Value, found: &mut Vec<Finding>) {
    let Some(ports) = peer.get("ports") else { return };
    let message = format!("ports belong beside `{}`, not into one of its entries", rule.peers);
    let mut right = rule.json.clone();
    for peer in right.get_mut(rule.peers).and_then(Value::as_array_mut).into_iter().flatten() {
        peer.as_object_mut().map(|it| it.remove("ports"));
    }
    if let Some(fields) = right.as_object_mut() {
        fields.insert("ports".to_owned(), ports.clone());
    }
    let finding = Finding::error(PORTS_IN_PEER, format!("{path}.ports"), message);
    found.push(finding.snippet(&json!([right])));
}

/// `podSelector: {app: web}`, without `matchLabels`.
fn bare_labels(value: &Value, selector: &str, path: &str, found: &mut Vec<Finding>) {
    let Some(fields) = value.get(selector).and_then(Value::as_object) else { return };
    let known = ["matchLabels", "matchExpressions"];
    let is_label = |(key, value): &(&String, &Value)| {
        !known.contains(&key.as_str())
            && (value.is_string() || value.is_number() || value.is_boolean())
    };
    let labels: Vec<(&String, &Value)> = fields.iter().filter(is_label).collect();
    let Some((first, _)) = labels.first() else { return };
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let name = |key: &String| match (selector, key.as_str()) {
        ("namespaceSelector", "name") => "kubernetes.io/metadata.name".to_owned(),
        _ => key.clone(),
    };
    let pairs = labels.iter().map(|(key, value)| (name(key), Value::from(word(value))));
    let mut right: Map<String, Value> = fields
        .iter()
        .filter(|it| !is_label(it))
        .map(|(key, it)| (key.clone(), it.clone()))
        .collect();
    right.insert("matchLabels".to_owned(), Value::Object(pairs.collect()));
    let message = "labels belong under `matchLabels`";
    let at = format!("{path}.{selector}");
    let mut finding = Finding::error(BARE_LABELS, format!("{at}.{first}"), message);
    finding.covers = labels.iter().map(|(key, _)| format!("{at}.{key}")).collect();
    found.push(finding.snippet(&json!({ selector: right })));
}

/// `port: 8000-9000`, `port: "80,443"`.
fn range(path: &str, port: &Value, found: &mut Vec<Finding>) {
    let Some(text) = port.get("port").and_then(Value::as_str) else { return };
    let number = |it: &str| it.trim().parse::<u16>().ok();
    let with = |first: u16, last: Option<u16>| {
        let mut right = port.as_object().cloned().unwrap_or_default();
        right.insert("port".to_owned(), first.into());
        if let Some(last) = last {
            right.insert("endPort".to_owned(), last.into());
        }
        Value::from(right)
    };
    let ends = text.split_once(['-', ':']).and_then(|(a, b)| Some((number(a)?, number(b)?)));
    let at = format!("{path}.port");
    if let Some((first, last)) = ends {
        let message = format!("`{text}` is not a port: a range is `port` and `endPort`");
        let finding = Finding::error(PORT_RANGE, at, message);
        return found.push(finding.snippet(&json!([with(first, Some(last))])));
    }
    let parts: Option<Vec<u16>> =
        text.split([',', ' ']).filter(|it| !it.is_empty()).map(number).collect();
    if let Some(parts) = parts.filter(|it| it.len() > 1) {
        let message = format!("`{text}` is not a port: each port is an entry of its own");
        let list: Vec<Value> = parts.into_iter().map(|it| with(it, None)).collect();
        found.push(Finding::error(PORT_RANGE, at, message).snippet(&list.into()));
    }
}

/// `protocol: ICMP`, `protocol: ANY`.
fn protocol(rule: &WrittenRule<'_>, path: &str, port: &Value, found: &mut Vec<Finding>) {
    let Some(text) = port.get("protocol").and_then(Value::as_str) else { return };
    let upper = text.to_uppercase();
    let mut right = rule.json.clone();
    let message = if EVERY_PROTOCOL.contains(&upper.as_str()) {
        format!(
            "`{text}` is not a protocol: without `ports`, a rule allows every port of every protocol"
        )
    } else if upper.starts_with("ICMP") || ["ESP", "AH", "GRE", "IGMP", "IPIP"].contains(&&*upper) {
        format!(
            "`{text}` has no ports, so no entry of `ports` allows it: only a rule without `ports` does, \
             and it allows every other protocol, too"
        )
    } else {
        return;
    };
    if let Some(fields) = right.as_object_mut() {
        fields.remove("ports");
    }
    found.push(
        Finding::error(PROTOCOL, format!("{path}.protocol"), message).snippet(&json!([right])),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::fixture::{found, snippet};

    fn spec(text: &str) -> String {
        crate::lint::fixture::policy(&format!("podSelector: {{}}\n{text}"))
    }

    #[test]
    fn each_mistake_is_found_at_its_field() {
        for (text, lint, path) in [
            ("ingress: [{to: []}]", MISPLACED_PEERS, "spec.ingress[0].to"),
            ("egress: [{}, {from: []}]", MISPLACED_PEERS, "spec.egress[1].from"),
            (
                "ingress: [{from: [{podSelector: {}, ports: []}]}]",
                PORTS_IN_PEER,
                "spec.ingress[0].from[0].ports",
            ),
            (
                "egress: [{to: [{podSelector: {a: b}}]}]",
                BARE_LABELS,
                "spec.egress[0].to[0].podSelector.a",
            ),
            ("ingress: [{action: Deny}]", ACTION, "spec.ingress[0].action"),
            ("order: 1", ACTION, "spec.order"),
            ("egress: [{to: [{fqdn: example.org}]}]", HOST_NAME, "spec.egress[0].to[0].fqdn"),
            (
                "egress: [{to: [{ipBlock: {cidr: www.example.org}}]}]",
                HOST_NAME,
                "spec.egress[0].to[0].ipBlock.cidr",
            ),
            (
                "ingress: [{ports: [{port: 8000-9000}]}]",
                PORT_RANGE,
                "spec.ingress[0].ports[0].port",
            ),
            ("ingress: [{ports: [{port: '80,443'}]}]", PORT_RANGE, "spec.ingress[0].ports[0].port"),
            (
                "ingress: [{ports: [{protocol: icmp}]}]",
                PROTOCOL,
                "spec.ingress[0].ports[0].protocol",
            ),
            (
                "ingress: [{ports: [{protocol: ANY}]}]",
                PROTOCOL,
                "spec.ingress[0].ports[0].protocol",
            ),
        ] {
            assert_eq!(found(&spec(text)), [(lint, path.to_owned())], "{text}");
        }
    }

    #[test]
    fn right_forms_are_not_found() {
        for text in [
            "ingress: [{from: [{podSelector: {matchLabels: {action: deny, host: a}}}], ports: [{port: 80}]}]",
            "egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: a-1}, {port: 8000, endPort: 9000}]}]",
            "ingress: [{ports: [{protocol: TCPP}, {port: '80'}]}]",
            "egress: [{to: [{ipBlock: {cidr: 10.0.0}}, {ipBlock: {cidr: fe80.x/8}}, {ipBlock: {cidr: any}}]}]",
        ] {
            assert_eq!(found(&spec(text)), [], "{text}");
        }
    }

    #[test]
    fn snippets_are_the_corrected_fields() {
        insta::assert_snapshot!(snippet(&spec("ingress: [{to: [{podSelector: {}}]}]")), @"
        - from:
          - podSelector: {}
        ");
        insta::assert_snapshot!(snippet(&spec("ingress: [{from: [{podSelector: {}, ports: [{port: 80}]}]}]")), @"
        - from:
          - podSelector: {}
          ports:
          - port: 80
        ");
        insta::assert_snapshot!(snippet(&spec("egress: [{to: [{namespaceSelector: {name: a}}]}]")), @"
        namespaceSelector:
          matchLabels:
            kubernetes.io/metadata.name: a
        ");
        insta::assert_snapshot!(snippet(&spec("ingress: [{ports: [{port: 8000-9000, protocol: UDP}]}]")), @"
        - endPort: 9000
          port: 8000
          protocol: UDP
        ");
        insta::assert_snapshot!(snippet(&spec("ingress: [{ports: [{port: '80,443'}]}]")), @"
        - port: 80
        - port: 443
        ");
        insta::assert_snapshot!(snippet(&spec("ingress: [{from: [{podSelector: {}}], ports: [{protocol: ICMP}]}]")), @"
        - from:
          - podSelector: {}
        ");
    }
}
