//! The text of a policy: its manifest, or one with the same meaning.

use enforcer_core::model::{
    AUDIT_ANNOTATION, Peer, Policy, PolicyId, PortRange, PortRule, PortSpec, Requirement, Rule,
    Selector,
};
use serde_json::{Map, Value, json};

use super::state::State;

/// The policy's manifest: as a file declares it, else made from its meaning; `None`: there is no such
/// policy.
///
/// # Errors
/// The manifest can't be written as YAML.
pub fn policy_text(state: &State, id: &PolicyId) -> anyhow::Result<Option<String>> {
    let Some(policy) = state.cluster.policies.get(id) else { return Ok(None) };
    if let Some(text) = state.policy_text(id) {
        return Ok(Some(text));
    }
    Ok(Some(serde_saphyr::to_string(&manifest(policy))?))
}

fn manifest(policy: &Policy) -> Value {
    let mut spec = Map::new();
    let mut types = Vec::new();
    spec.insert("podSelector".to_owned(), selector(&policy.subjects));
    for (name, word, list, rules) in [
        ("Ingress", "ingress", "from", &policy.ingress),
        ("Egress", "egress", "to", &policy.egress),
    ] {
        if let Some(rules) = rules {
            types.push(name);
            let rules: Vec<Value> = rules.iter().map(|it| rule(it, list)).collect();
            spec.insert(word.to_owned(), rules.into());
        }
    }
    spec.insert("policyTypes".to_owned(), types.into());
    let mut metadata = json!({ "namespace": policy.id.namespace, "name": policy.id.name });
    if policy.audit {
        metadata["annotations"] = json!({ AUDIT_ANNOTATION: "true" });
    }
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": spec,
    })
}

fn rule(rule: &Rule, list: &str) -> Value {
    let mut fields = Map::new();
    // An absent list means everything, an empty one, too (semantics R1).
    if !rule.peers.is_empty() {
        fields.insert(list.to_owned(), rule.peers.iter().map(peer).collect());
    }
    if !rule.ports.is_empty() {
        fields.insert("ports".to_owned(), rule.ports.iter().map(port).collect());
    }
    fields.into()
}

fn peer(peer: &Peer) -> Value {
    match peer {
        Peer::Block(block) => {
            let except: Vec<String> = block.except.iter().map(ToString::to_string).collect();
            let cidr = block.cidr.to_string();
            match except.as_slice() {
                [] => json!({ "ipBlock": { "cidr": cidr } }),
                _ => json!({ "ipBlock": { "cidr": cidr, "except": except } }),
            }
        }
        Peer::Pods { namespaces: None, pods } => json!({ "podSelector": selector(pods) }),
        Peer::Pods { namespaces: Some(namespaces), pods } => {
            json!({ "namespaceSelector": selector(namespaces), "podSelector": selector(pods) })
        }
    }
}

fn port(port: &PortRule) -> Value {
    let protocol = port.protocol.name();
    match &port.port {
        PortSpec::All => json!({ "protocol": protocol }),
        PortSpec::Named(name) => json!({ "protocol": protocol, "port": name }),
        PortSpec::Range(PortRange { first, last }) if first == last => {
            json!({ "protocol": protocol, "port": first })
        }
        PortSpec::Range(PortRange { first, last }) => {
            json!({ "protocol": protocol, "port": first, "endPort": last })
        }
    }
}

fn selector(selector: &Selector) -> Value {
    let (mut labels, mut expressions) = (Map::new(), Vec::new());
    for requirement in &selector.requirements {
        let (key, operator, values) = match requirement {
            Requirement::In(key, values) if values.len() == 1 && !labels.contains_key(key) => {
                labels.insert(key.clone(), values.iter().next().cloned().into());
                continue;
            }
            Requirement::In(key, values) => (key, "In", Some(values)),
            Requirement::NotIn(key, values) => (key, "NotIn", Some(values)),
            Requirement::Exists(key) => (key, "Exists", None),
            Requirement::DoesNotExist(key) => (key, "DoesNotExist", None),
        };
        expressions.push(match values {
            Some(values) => json!({ "key": key, "operator": operator, "values": values }),
            None => json!({ "key": key, "operator": operator }),
        });
    }
    let mut fields = Map::new();
    if !labels.is_empty() {
        fields.insert("matchLabels".to_owned(), labels.into());
    }
    if !expressions.is_empty() {
        fields.insert("matchExpressions".to_owned(), expressions.into());
    }
    fields.into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use indoc::indoc;

    use super::*;

    const POLICY: &str = indoc! {"
        # Who may ask the database.
        apiVersion: networking.k8s.io/v1
        kind: NetworkPolicy
        metadata: { namespace: shop, name: db }
        spec:
          podSelector: { matchExpressions: [{ key: app, operator: In, values: [db, cache] }] }
          policyTypes: [Ingress, Egress]
          ingress:
            - from: [{ podSelector: { matchLabels: { role: api } } }, { namespaceSelector: {} }]
              ports: [{ port: 5432, endPort: 5440 }, { port: sql }, { protocol: UDP }]
            - from: [{ ipBlock: { cidr: 10.0.0.0/8, except: [10.1.0.0/16] } }]
          egress:
            - {}
    "};

    #[test]
    fn a_manifest_made_from_a_policy_means_the_same() {
        let audited = "shop, name: db, annotations: { enforcer.io/audit: \"true\" }";
        let audited = POLICY.replace("shop, name: db", audited);
        for text in [POLICY, &audited] {
            means_the_same(text);
        }
    }

    fn means_the_same(text: &str) {
        let state = State::of_text(Path::new("x"), text).unwrap();
        let policy = state.cluster.policies.values().next().unwrap();
        let text = serde_saphyr::to_string(&manifest(policy)).unwrap();
        let again = State::of_text(Path::new("y"), &text).unwrap();
        assert_eq!(again.cluster.policies, state.cluster.policies, "{text}");
    }

    #[test]
    fn a_declared_policy_has_the_text_of_its_document() {
        let other =
            |name| format!("kind: Namespace\napiVersion: v1\nmetadata: {{ name: {name} }}\n");
        let text = format!("{}---\n{POLICY}--- \n{}", other("shop"), other("ops"));
        let state = State::of_text(Path::new("x"), &text);
        let state = state.unwrap();
        let text = policy_text(&state, &PolicyId::new("shop", "db")).unwrap().unwrap();
        assert_eq!(text, POLICY);
        let id = PolicyId::new("shop", "db");
        let line = |path| state.place(&id, path).unwrap().line;
        assert_eq!([line("metadata.name"), line("spec.ingress[1].from[0]")], [8, 15]);
        let missing = policy_text(&state, &PolicyId::new("shop", "web")).unwrap();
        assert_eq!(missing, None);
    }
}
