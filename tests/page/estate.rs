//! The clusters that the tests show.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use enforcer::inspect::State;
use enforcer::page::{Activity, ActivityReport, Clusters};
use ipnet::IpNet;
use serde_json::json;

/// A state that stays.
pub(crate) struct Fixed {
    name: &'static str,
    state: Arc<State>,
}

impl Fixed {
    fn new(name: &'static str, manifests: &str) -> Self {
        let state = State::of_text(Path::new(name), manifests).unwrap();
        Self { name, state: Arc::new(state.with_addresses(None)) }
    }
}

#[async_trait]
impl Clusters for Fixed {
    async fn state(&self, _: bool) -> anyhow::Result<Arc<State>> {
        Ok(Arc::clone(&self.state))
    }

    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn pod_cidr(&self) -> Option<IpNet> {
        None
    }
}

/// A shop of a few pods.
pub(crate) fn shop() -> Fixed {
    let text =
        [include_str!("../inspect/shop/app.yaml"), include_str!("../inspect/shop/policies.yaml")];
    Fixed::new("shop.yaml", &text.join("---\n"))
}

/// What an agent saw in the shop.
pub(crate) struct ShopSeen;

#[async_trait]
impl Activity for ShopSeen {
    async fn read(&self) -> ActivityReport {
        let flow = |from: &str, to: &str, port: u16, verdict: &str, connections: u32| {
            let isolated_by: &[&str] = match verdict {
                "denied" => &["shop/db-clients", "shop/default-deny"],
                _ => &[],
            };
            json!({
                "revision": 1, "from": from, "to": to, "from_kind": "workload", "to_kind": "workload",
                "protocol": "TCP", "port": port, "verdict": verdict, "connections": connections,
                "first_seen": "2026-11-27T00:10:00Z", "last_seen": "2026-11-27T00:50:00Z",
                "ends": [{
                    "direction": "ingress", "reason": "no-rule", "isolated_by": isolated_by,
                    "nearest": { "policy": "shop/db-clients", "path": "spec.ingress[0].from[0].podSelector",
                        "differences": ["shop/web-0 has role=frontend instead of role=api"] },
                }],
            })
        };
        let rule = |rule: &str, used: Option<&str>| {
            json!({
                "policy": "shop/db-clients", "direction": "ingress", "rule": rule,
                "connections": u32::from(used.is_some()), "since": "2026-11-26T08:00:00Z", "last_used": used,
            })
        };
        ActivityReport {
            agents: vec!["node-1".to_owned()],
            flows: vec![json!({
                "node": "node-1", "since": "2026-11-26T08:00:00Z", "at": "2026-11-27T00:50:00Z",
                "flows": [
                    flow("shop/api (deploy)", "shop/db (sts)", 5432, "allowed", 1_204),
                    flow("shop/web (deploy)", "shop/api (deploy)", 8000, "denied", 31),
                    flow("shop/web (deploy)", "shop/db (sts)", 5432, "denied", 3),
                    flow("198.18.0.9", "shop/web (deploy)", 8080, "allowed", 88),
                ],
                "policies": [
                    rule("spec.ingress[0]", Some("2026-11-27T00:50:00Z")),
                    rule("spec.ingress[1]", None),
                ],
            })],
            audit: vec![json!({
                "node": "node-1", "policies": ["shop/web-from-office"], "all": false, "connections": [{
                    "policies": ["shop/web-from-office"], "effect": "would-deny", "from": "203.0.113.9",
                    "to": "shop/web (deploy)", "protocol": "TCP", "port": 8080, "direction": "ingress",
                    "connections": 17, "first_seen": "2026-11-26T20:00:00Z",
                    "last_seen": "2026-11-27T00:45:00Z",
                }],
            })],
            drops: Vec::new(),
            silent: vec!["node-2: connection refused".to_owned()],
        }
    }
}

/// A cluster of `spaces` namespaces with five workloads each: clients may call the next workload.
pub(crate) fn cluster(spaces: usize, replicas: usize) -> Fixed {
    const APPS: [&str; 5] = ["web", "api", "worker", "queue", "db"];
    let mut text = String::new();
    for space in 0..spaces {
        let namespace = format!("team-{space:02}");
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Namespace\nmetadata: {{ name: {namespace}, labels: {{ stage: s{} }} }}\n",
            space % 5
        );
        for (at, app) in APPS.iter().enumerate() {
            let port = 8000 + at;
            let _ = write!(
                text,
                "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{ namespace: {namespace}, name: {app} }}\n\
                 spec:\n  replicas: {replicas}\n  selector: {{ matchLabels: {{ app: {app} }} }}\n  template:\n    \
                 metadata: {{ labels: {{ app: {app} }} }}\n    spec: {{ containers: [{{ name: main, image: x, \
                 ports: [{{ name: main, containerPort: {port} }}] }}] }}\n"
            );
            // Every fourth namespace has no policies.
            if space % 4 == 3 {
                continue;
            }
            let client = match at {
                0 => format!(
                    "namespaceSelector: {{ matchLabels: {{ stage: s{} }} }}",
                    (space + 1) % 5
                ),
                _ => format!("podSelector: {{ matchLabels: {{ app: {} }} }}", APPS[at - 1]),
            };
            let _ = write!(
                text,
                "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{ namespace: {namespace}, \
                 name: {app}-clients }}\nspec:\n  podSelector: {{ matchLabels: {{ app: {app} }} }}\n  ingress:\n    \
                 - from: [{{ {client} }}]\n      ports: [{{ port: main }}]\n"
            );
        }
    }
    Fixed::new("cluster", &text)
}
