//! The pods and policies that come and go.

use std::collections::BTreeSet;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::numbers::Numbers;
use crate::api::{ApiServer, Key, kinds};

/// The namespace of the pods that change.
const NAMESPACE: &str = "soak";
/// The namespace of the connection that never breaks.
pub(super) const STEADY: &str = "steady";
/// The pods that are always there.
const RESIDENTS: [&str; 4] = ["a", "b", "c", "d"];
/// The names of the pods that come and go.
const GUESTS: [&str; 3] = ["x", "y", "z"];
const APPS: [&str; 3] = ["front", "back", "store"];
const TIERS: [&str; 2] = ["one", "two"];
/// The most policies at a time.
const POLICIES: usize = 6;

/// The objects at the API server.
pub(super) struct Cast {
    server: ApiServer,
    guests: BTreeSet<&'static str>,
    policies: BTreeSet<usize>,
}

impl Cast {
    /// The first cast: residents without policies, and the ends of the steady connection.
    pub(super) fn new(server: ApiServer) -> anyhow::Result<Self> {
        let cast = Self { server, guests: BTreeSet::new(), policies: BTreeSet::new() };
        let store = cast.server.store();
        for name in [NAMESPACE, STEADY] {
            let meta = json!({"name": name, "labels": {"name": name}});
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": meta});
            store.put(&kinds::NAMESPACES, namespace)?;
        }
        for name in ["client", "server"] {
            store.put(&kinds::PODS, pod(STEADY, name, name, "one"))?;
        }
        let rule = json!([{"podSelector": {"matchLabels": {"app": "client"}}}]);
        let spec =
            json!({"podSelector": {"matchLabels": {"app": "server"}}, "ingress": [{"from": rule}]});
        store.put(&kinds::NETWORK_POLICIES, policy(STEADY, "only-the-client", &spec))?;
        cast.reset_labels()?;
        Ok(cast)
    }

    fn reset_labels(&self) -> anyhow::Result<()> {
        for (name, app) in RESIDENTS.into_iter().zip(APPS.into_iter().cycle()) {
            self.label(name, app, "one")?;
        }
        Ok(())
    }

    /// Back to the first cast.
    pub(super) fn reset(&mut self) -> anyhow::Result<()> {
        for name in std::mem::take(&mut self.guests) {
            self.server.store().remove(&kinds::PODS, &Key::new(NAMESPACE, name));
        }
        for number in std::mem::take(&mut self.policies) {
            self.remove_policy(number);
        }
        self.reset_labels()
    }

    /// Changes something; returns what.
    pub(super) fn change(&mut self, numbers: &mut Numbers) -> anyhow::Result<String> {
        match numbers.below(5) {
            0 => self.relabel(numbers),
            1 => self.swap_guest(numbers),
            _ => self.swap_policy(numbers),
        }
    }

    fn relabel(&self, numbers: &mut Numbers) -> anyhow::Result<String> {
        let pods: Vec<&str> = RESIDENTS.into_iter().chain(self.guests.iter().copied()).collect();
        let name = numbers.pick(&pods).context("there are residents")?;
        let app = numbers.pick(&APPS).context("there are apps")?;
        let tier = numbers.pick(&TIERS).context("there are tiers")?;
        self.label(name, app, tier)?;
        Ok(format!("pod {name} becomes {app}/{tier}"))
    }

    fn swap_guest(&mut self, numbers: &mut Numbers) -> anyhow::Result<String> {
        let name = *numbers.pick(&GUESTS).context("there are guests")?;
        if self.guests.remove(name) {
            self.server.store().remove(&kinds::PODS, &Key::new(NAMESPACE, name));
            return Ok(format!("pod {name} leaves"));
        }
        self.guests.insert(name);
        let app = numbers.pick(&APPS).context("there are apps")?;
        self.label(name, app, "two")?;
        Ok(format!("pod {name} comes"))
    }

    fn label(&self, name: &str, app: &str, tier: &str) -> anyhow::Result<()> {
        let store = self.server.store();
        let labels = json!({"app": app, "tier": tier});
        let set = |pod: &mut Value| pod["metadata"]["labels"] = labels.clone();
        if store.get(&kinds::PODS, &Key::new(NAMESPACE, name)).is_some() {
            store.edit(&kinds::PODS, &Key::new(NAMESPACE, name), set);
        } else {
            store.put(&kinds::PODS, pod(NAMESPACE, name, app, tier))?;
        }
        Ok(())
    }

    fn swap_policy(&mut self, numbers: &mut Numbers) -> anyhow::Result<String> {
        let number = numbers.below(POLICIES);
        if self.policies.remove(&number) && numbers.once_in(2) {
            self.remove_policy(number);
            return Ok(format!("policy {number} leaves"));
        }
        self.policies.insert(number);
        let spec = random_spec(numbers);
        let name = format!("policy{number}");
        self.server.store().put(&kinds::NETWORK_POLICIES, policy(NAMESPACE, &name, &spec))?;
        Ok(format!("policy {number} is {spec}"))
    }

    fn remove_policy(&self, number: usize) {
        let key = Key::new(NAMESPACE, format!("policy{number}"));
        self.server.store().remove(&kinds::NETWORK_POLICIES, &key);
    }
}

fn pod(namespace: &str, name: &str, app: &str, tier: &str) -> Value {
    let ports = json!([{"name": "http", "containerPort": 80}]);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": {"app": app, "tier": tier}},
        "spec": {"containers": [{"name": "main", "image": "example.org/main", "ports": ports}]},
    })
}

fn policy(namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": name}, "spec": spec,
    })
}

fn random_spec(numbers: &mut Numbers) -> Value {
    let mut spec = json!({"podSelector": selector(numbers)});
    let is_egress = numbers.once_in(3);
    let (rules, peers) = if is_egress { ("egress", "to") } else { ("ingress", "from") };
    let count = numbers.below(4);
    let list: Vec<Value> = (0..count).map(|_| rule(numbers, peers)).collect();
    spec[rules] = list.into();
    spec["policyTypes"] = json!([if is_egress { "Egress" } else { "Ingress" }]);
    spec
}

fn rule(numbers: &mut Numbers, peers: &str) -> Value {
    let mut rule = json!({});
    if !numbers.once_in(6) {
        let list: Vec<Value> = (0..=numbers.below(2)).map(|_| peer(numbers)).collect();
        rule[peers] = list.into();
    }
    if numbers.once_in(2) {
        let port = [json!(80), json!("http"), json!(443)];
        rule["ports"] = json!([{"port": numbers.pick(&port)}]);
    }
    rule
}

fn peer(numbers: &mut Numbers) -> Value {
    match numbers.below(4) {
        0 => json!({"namespaceSelector": {"matchLabels": {"name": STEADY}}}),
        // Each time another range: tables would fill if they kept the former ones.
        1 => {
            let (cidr, except) = (numbers.below(256), numbers.below(256));
            json!({"ipBlock": {
                "cidr": format!("198.{cidr}.0.0/16"), "except": [format!("198.{cidr}.{except}.0/25")],
            }})
        }
        _ => json!({"podSelector": selector(numbers)}),
    }
}

fn selector(numbers: &mut Numbers) -> Value {
    match numbers.below(4) {
        0 => json!({}),
        1 => json!({"matchLabels": {"tier": numbers.pick(&TIERS)}}),
        _ => json!({"matchLabels": {"app": numbers.pick(&APPS)}}),
    }
}
