//! Observed flows as documents: see `docs/json.md`.

use std::collections::BTreeMap;

use enforcer_core::flows::{FlowEnd, Key, Ledger, Record, RuleUse, UseKey};
use enforcer_core::model::PolicyId;
use serde::{Deserialize, Serialize};

use super::flow_decision::FlowDecision;

/// What the flow tables can't show.
const NOTES: [&str; 3] = [
    "connections that the node itself opens to its pods, such as probes, are not recorded, and a \
     connection that reuses the ports of one that has not expired counts as the same",
    "of a flood of denied attempts only some are known",
    "node: the pod's own node, or clients whose address it has masqueraded",
];

/// Connections with the same ends, port and verdict. Times are as in RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FlowRecord {
    /// The agent's node, in objects of their own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node: Option<String>,
    /// The number of its last change.
    #[serde(default)]
    pub revision: u64,
    /// The sender.
    pub from: String,
    /// A name of [`FlowEnd::KINDS`].
    pub from_kind: String,
    /// The receiver.
    pub to: String,
    /// A name of [`FlowEnd::KINDS`].
    pub to_kind: String,
    /// The protocol's name.
    pub protocol: String,
    /// The receiver's port, after a Service's translation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub port: Option<u16>,
    /// The Services that were asked for, as `namespace/name:port`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub services: Vec<String>,
    /// `allowed`, `denied`, or, with policies in audit, `would-deny` and `would-allow`.
    pub verdict: String,
    /// New connections, or attempts.
    pub connections: u64,
    /// The same, as counted at the sender's interface.
    #[serde(default)]
    pub at_sender: u64,
    /// The same, as counted at the receiver's interface.
    #[serde(default)]
    pub at_receiver: u64,
    /// Connections that are established now.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub open: u64,
    /// The first connection.
    pub first_seen: String,
    /// The last packet.
    pub last_seen: String,
    /// The decisions of the ends that are pods.
    #[serde(default)]
    pub ends: Vec<FlowDecision>,
}

/// The use of a rule that isolates a pod of the node; without `rule`, of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyUse {
    /// The policy as `namespace/name`.
    pub policy: String,
    /// `ingress` or `egress`.
    pub direction: String,
    /// The rule, such as `spec.ingress[1]`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<String>,
    /// New connections that it allowed.
    pub connections: u64,
    /// Attempts that were denied at pods that the policy isolates.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub denied: u64,
    /// Since when they are counted.
    pub since: String,
    /// The last packet that it allowed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_used: Option<String>,
}

/// What an agent has seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Flows {
    /// The agent's node.
    pub node: String,
    /// When it began to count.
    pub since: String,
    /// When it last looked at the flow tables.
    pub at: String,
    /// The newest revision.
    pub revision: u64,
    /// The flows, the newest change first.
    pub flows: Vec<FlowRecord>,
    /// The use of rules.
    #[serde(default)]
    pub policies: Vec<PolicyUse>,
    /// Connections that could not be attributed.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub missed: u64,
    /// What this document can't show.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The agents that did not answer, and why.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub silent: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Seconds since 1970 as RFC 3339.
#[must_use]
pub fn time(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

impl FlowRecord {
    /// The document of a record.
    #[must_use]
    pub fn new(key: &Key, record: &Record) -> Self {
        Self {
            node: None,
            revision: record.revision,
            from: key.from.to_string(),
            from_kind: key.from.kind().to_owned(),
            to: key.to.to_string(),
            to_kind: key.to.kind().to_owned(),
            protocol: key.protocol.clone(),
            port: key.port,
            services: record.services.iter().cloned().collect(),
            verdict: key.verdict.name().to_owned(),
            connections: record.connections(),
            at_sender: record.at_sender,
            at_receiver: record.at_receiver,
            open: record.open,
            first_seen: time(record.first_seen),
            last_seen: time(record.last_seen),
            ends: record.ends.iter().map(FlowDecision::new).collect(),
        }
    }

    /// Its ends; `None`: a later version's.
    #[must_use]
    pub fn parties(&self) -> Option<[FlowEnd; 2]> {
        let from = FlowEnd::read(&self.from_kind, &self.from)?;
        Some([from, FlowEnd::read(&self.to_kind, &self.to)?])
    }

    /// Whether an end is in the namespace.
    #[must_use]
    pub fn is_in(&self, namespace: &str) -> bool {
        self.parties().is_some_and(|it| it.iter().any(|it| it.namespace() == Some(namespace)))
    }

    /// Adds what another agent, or the same one later, has seen of it.
    pub fn merge(&mut self, other: &Self) {
        self.at_sender += other.at_sender;
        self.at_receiver += other.at_receiver;
        self.connections = self.at_sender.max(self.at_receiver);
        self.open = self.open.max(other.open);
        self.services.extend(other.services.iter().cloned());
        self.services.sort();
        self.services.dedup();
        self.revision = self.revision.max(other.revision);
        if other.first_seen < self.first_seen {
            self.first_seen.clone_from(&other.first_seen);
        }
        if other.last_seen >= self.last_seen {
            self.last_seen.clone_from(&other.last_seen);
            self.ends.clone_from(&other.ends);
        }
    }
}

impl PolicyUse {
    fn new(key: &UseKey, used: &RuleUse) -> Self {
        let direction = key.direction.name();
        Self {
            policy: PolicyId::to_string(&key.policy),
            direction: direction.to_owned(),
            rule: key.rule.map(|index| format!("spec.{direction}[{index}]")),
            connections: used.connections,
            denied: used.denied,
            since: time(used.since),
            last_used: used.last_used.map(time),
        }
    }

    fn merge(&mut self, other: &Self) {
        self.connections += other.connections;
        self.denied += other.denied;
        if other.since < self.since {
            self.since.clone_from(&other.since);
        }
        self.last_used = self.last_used.take().max(other.last_used.clone());
    }
}

impl Flows {
    /// The document of what was seen after a revision.
    #[must_use]
    pub fn new(node: &str, ledger: &Ledger, after: u64) -> Self {
        let (since, at) = ledger.times();
        let flows = ledger.list(after).into_iter();
        Self {
            node: node.to_owned(),
            since: time(since),
            at: time(at),
            revision: ledger.revision(),
            flows: flows.map(|(key, record)| FlowRecord::new(key, record)).collect(),
            policies: ledger.uses().map(|(key, used)| PolicyUse::new(key, used)).collect(),
            missed: ledger.missed(),
            notes: NOTES.map(str::to_owned).to_vec(),
            silent: Vec::new(),
        }
    }

    /// What several agents have seen. A connection between two nodes is seen at both: the larger of the
    /// sums at senders and at receivers counts.
    #[must_use]
    pub fn merged(all: Vec<Self>) -> Self {
        let mut sum = Self::default();
        let mut uses: BTreeMap<(String, String, Option<String>), PolicyUse> = BTreeMap::new();
        let mut records = Vec::new();
        let mut nodes = Vec::new();
        for flows in all {
            nodes.push(flows.node);
            records.extend(flows.flows);
            for used in flows.policies {
                let key = (used.policy.clone(), used.direction.clone(), used.rule.clone());
                match uses.get_mut(&key) {
                    Some(known) => known.merge(&used),
                    None => drop(uses.insert(key, used)),
                }
            }
            if sum.since.is_empty() || flows.since < sum.since {
                sum.since = flows.since;
            }
            sum.at = sum.at.max(flows.at);
            sum.revision = sum.revision.max(flows.revision);
            sum.missed += flows.missed;
            sum.notes.extend(flows.notes);
            sum.silent.extend(flows.silent);
        }
        sum.notes.sort();
        sum.notes.dedup();
        sum.node = nodes.join(",");
        sum.flows = summed(records);
        sum.policies = uses.into_values().collect();
        sum
    }
}

/// The records, those with the same ends, port and verdict as one; the newest first.
#[must_use]
pub fn summed(records: Vec<FlowRecord>) -> Vec<FlowRecord> {
    let mut sums: BTreeMap<_, FlowRecord> = BTreeMap::new();
    for record in records {
        let key = (
            (record.from_kind.clone(), record.from.clone()),
            (record.to_kind.clone(), record.to.clone()),
            (record.protocol.clone(), record.port),
            record.verdict.clone(),
        );
        match sums.get_mut(&key) {
            Some(known) => known.merge(&record),
            None => drop(sums.insert(key, FlowRecord { node: None, ..record })),
        }
    }
    let mut all: Vec<FlowRecord> = sums.into_values().collect();
    all.sort_by(|one, two| two.last_seen.cmp(&one.last_seen));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(to: &str, at: [u64; 2], last: u64) -> FlowRecord {
        FlowRecord {
            from: "shop/web (deploy)".to_owned(),
            from_kind: "workload".to_owned(),
            to: to.to_owned(),
            to_kind: "workload".to_owned(),
            protocol: "TCP".to_owned(),
            port: Some(80),
            verdict: "allowed".to_owned(),
            connections: at[0].max(at[1]),
            at_sender: at[0],
            at_receiver: at[1],
            first_seen: time(last),
            last_seen: time(last),
            ..FlowRecord::default()
        }
    }

    #[test]
    fn a_connection_between_two_nodes_counts_once() {
        let of = |node: &str, flows| Flows { node: node.to_owned(), flows, ..Flows::default() };
        let one = of("one", vec![record("shop/db", [5, 0], 10), record("shop/api", [1, 1], 10)]);
        let two = of("two", vec![record("shop/db", [0, 5], 20)]);
        let sum = Flows::merged(vec![one, two]);
        assert_eq!(sum.node, "one,two");
        let counts: Vec<_> = sum.flows.iter().map(|it| (it.to.as_str(), it.connections)).collect();
        assert_eq!(counts, [("shop/db", 5), ("shop/api", 1)]);
        assert_eq!(sum.flows[0].first_seen, "1970-01-01T00:00:10Z");
        assert_eq!(sum.flows[0].last_seen, "1970-01-01T00:00:20Z");
    }

    #[test]
    fn namespaces_are_those_of_ends() {
        let record = record("ops/prometheus", [1, 0], 1);
        assert!(record.is_in("shop") && record.is_in("ops") && !record.is_in("web"));
    }
}
