//! What policies in audit would change, as a document: see `docs/json.md`.

use enforcer_core::flows::{Decision, Key, Miss};
use serde::{Deserialize, Serialize};

use super::flow_decision::{FlowDecision, FlowRule};
use super::flows::{FlowRecord, Flows};
use super::{Nearest, Status};

/// What policies in audit would change at an end, in one line.
#[must_use]
pub fn audited_line(key: &Key, decision: &Decision) -> String {
    let Key { from, to, protocol, port, .. } = key;
    let port = port.map_or_else(|| protocol.clone(), |port| format!("{port}/{protocol}"));
    let mut text = format!("{from} → {to} {port}");
    if let Some(audit) = &decision.audit {
        let effect = if audit.allows { "allowed" } else { "denied" };
        let direction = decision.direction.name();
        let policies = audit.policies.join(", ");
        text += &format!(" would be {effect} at {direction} by {policies} (in audit)");
        if let Some(Miss { policy, path, differences }) = &audit.nearest {
            text += &format!("; nearest: {policy} {path}: {}", differences.join(", "));
        }
    }
    text
}

/// Connections that policies in audit would decide otherwise at one end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditedConnection {
    /// The policies in audit that would isolate the pod in this direction.
    pub policies: Vec<String>,
    /// `would-deny` or `would-allow`.
    pub effect: String,
    /// The sender.
    pub from: String,
    /// The receiver.
    pub to: String,
    /// The protocol's name.
    pub protocol: String,
    /// The receiver's port, after a Service's translation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub port: Option<u16>,
    /// `egress` if the policies decide at the sender, `ingress` at the receiver.
    pub direction: String,
    /// Connections, or attempts.
    pub connections: u64,
    /// The first connection.
    pub first_seen: String,
    /// The last packet.
    pub last_seen: String,
    /// The rules that would allow it, as far as they are known.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub rules: Vec<FlowRule>,
    /// The nearest rule, if it would be denied.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nearest: Option<Nearest>,
}

/// What policies in audit would change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Audit {
    /// The agent's node; several nodes are separated by commas.
    pub node: String,
    /// When the agent began to count.
    pub since: String,
    /// When it last looked at the flow tables.
    pub at: String,
    /// Whether all policies are in audit, by `--audit`.
    pub all: bool,
    /// The policies in audit that select pods of the node.
    pub policies: Vec<String>,
    /// What they would change, most connections first.
    pub connections: Vec<AuditedConnection>,
    /// Connections that could not be attributed; they may be among those that would be denied.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub missed: u64,
    /// The agents that did not answer, and why.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub silent: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Audit {
    /// The report of an agent, or of several with their flows merged.
    #[must_use]
    pub fn new(status: &[Status], flows: &Flows) -> Self {
        let policies: std::collections::BTreeSet<&String> =
            status.iter().flat_map(|it| &it.audit).collect();
        let mut connections: Vec<AuditedConnection> =
            flows.flows.iter().flat_map(connections).collect();
        connections.sort_by(|one, two| {
            let key = |it: &AuditedConnection| (it.effect.clone(), it.policies.clone());
            key(one).cmp(&key(two)).then(two.connections.cmp(&one.connections))
        });
        Self {
            node: flows.node.clone(),
            since: flows.since.clone(),
            at: flows.at.clone(),
            all: status.iter().any(|it| it.audit_all),
            policies: policies.into_iter().cloned().collect(),
            connections,
            missed: flows.missed,
            silent: flows.silent.clone(),
        }
    }

    /// Leaves out what is of other namespaces.
    pub fn keep_namespace(&mut self, namespace: &str) {
        let is_in = |policy: &String| policy.split('/').next() == Some(namespace);
        self.policies.retain(is_in);
        self.connections.retain(|it| it.policies.iter().any(is_in));
    }

    /// Whether some connection would be denied.
    #[must_use]
    pub fn would_deny(&self) -> bool {
        self.connections.iter().any(|it| it.effect == "would-deny")
    }
}

/// The decisions of a flow that would be reversed, each as counted at its end's interface: the other
/// end's may be another node's.
fn connections(flow: &FlowRecord) -> impl Iterator<Item = AuditedConnection> {
    let of_end = |end: &FlowDecision| {
        let audit = end.audit.as_ref()?;
        let connections = if end.direction == "egress" { flow.at_sender } else { flow.at_receiver };
        Some(AuditedConnection {
            policies: audit.policies.clone(),
            effect: if audit.allows { "would-allow" } else { "would-deny" }.to_owned(),
            from: flow.from.clone(),
            to: flow.to.clone(),
            protocol: flow.protocol.clone(),
            port: flow.port,
            direction: end.direction.clone(),
            connections,
            first_seen: flow.first_seen.clone(),
            last_seen: flow.last_seen.clone(),
            rules: audit.rules.clone(),
            nearest: audit.nearest.clone(),
        })
    };
    flow.ends.iter().filter_map(of_end).filter(|it| it.connections > 0)
}
