//! Answers as documents.

use std::borrow::Cow;
use std::net::IpAddr;

use enforcer_core::explain::{self, Consent, Outcome, RuleResult, Why};
use enforcer_core::model::{PodId, PolicyId};
use serde::{Deserialize, Serialize};

use super::state::State;
use crate::source::manifests::Location;

/// A word of the schema.
pub type Word = Cow<'static, str>;

/// A field of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The policy as `namespace/name`.
    pub policy: String,
    /// The field, such as `spec.ingress[1].from[0].podSelector`.
    pub path: String,
    /// The entry of `ports`, if the rule has any and one decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_path: Option<String>,
    /// Where it is declared, if a file declares it.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// For a rule that does not allow the connection: every difference, which all have to go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
    /// For a rule of `--all`: `allows`, `misses` or `never`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Word>,
}

/// The decision of one end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndAnswer {
    /// The pod as `namespace/name`.
    pub pod: String,
    /// `egress` for the sender, `ingress` for the receiver.
    pub direction: Word,
    /// Whether this end allows the connection.
    pub allowed: bool,
    /// `itself`, `own-node`, `not-isolated`, `allowed-by-rule` or `no-rule`.
    pub reason: Word,
    /// The number of the rule in `ARCHITECTURE.md`.
    pub semantics: Word,
    /// The policies that isolate the pod in this direction.
    pub isolated_by: Vec<String>,
    /// The rules that allow it.
    pub allowed_by: Vec<Place>,
    /// The rule that would allow it after the fewest changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<Place>,
    /// With `--all`, every rule of the policies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Place>,
    /// The opposite decision if no policy were in audit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditAnswer>,
}

/// The decision of one end if no policy were in audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditAnswer {
    /// Whether this end would allow the connection.
    pub allowed: bool,
    /// The policies that would isolate the pod in this direction, in audit or not.
    pub isolated_by: Vec<String>,
    /// The rules that would allow it.
    pub allowed_by: Vec<Place>,
    /// The rule that would allow it after the fewest changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<Place>,
}

/// Connections with the same explanation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The sender: a workload, a pod, an address, `node` or `outside`.
    pub from: String,
    /// Its address in the example.
    pub from_address: String,
    /// The receiver.
    pub to: String,
    /// Its address in the example.
    pub to_address: String,
    /// `TCP`, `UDP` or `SCTP`; absent for protocols without ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The receiver's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The Service and its port that lead there, as `namespace/name:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Whether both ends allow it.
    pub allowed: bool,
    /// The number of pairs of addresses with this explanation.
    pub pairs: usize,
    /// Both ends' decisions on an example. An end that is no subject of policy has none.
    pub ends: Vec<EndAnswer>,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Answer {
    /// `allowed`, `denied` or `partly`.
    pub verdict: Word,
    /// The connections that the question is about.
    pub connections: Vec<Explanation>,
    /// What the answer assumes, or leaves out.
    pub notes: Vec<String>,
}

impl Answer {
    pub(super) fn new(connections: Vec<Explanation>, notes: Vec<String>) -> Self {
        let allowed = connections.iter().filter(|it| it.allowed).count();
        let verdict = match allowed {
            0 => "denied",
            _ if allowed == connections.len() => "allowed",
            _ => "partly",
        };
        Self { verdict: verdict.into(), connections, notes }
    }

    /// 0: every connection is allowed; 1: none is; 3: some are.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.verdict.as_ref() {
            "allowed" => 0,
            "denied" => 1,
            _ => 3,
        }
    }
}

/// The decision of an end as a document; `would`: the opposite one if no policy were in audit; `all`: the
/// answers of every rule, if they are wanted.
pub(super) fn end(
    state: &State,
    consent: &Consent,
    would: Option<&Why>,
    all: &[RuleResult],
) -> EndAnswer {
    let why = &consent.why;
    let (reason, allowed_by, nearest) = parts(why);
    let audit = would.map(|would| {
        let (_, allowed_by, nearest) = parts(would);
        AuditAnswer {
            allowed: would.allows(),
            isolated_by: names(would.isolating()),
            allowed_by: allowed_by.iter().map(|it| place(state, it, false)).collect(),
            nearest: nearest.map(|it| place(state, it, false)),
        }
    });
    EndAnswer {
        pod: consent.pod.to_string(),
        direction: consent.direction.name().into(),
        allowed: why.allows(),
        reason: reason.into(),
        semantics: why.semantics().into(),
        isolated_by: names(why.isolating()),
        allowed_by: allowed_by.iter().map(|it| place(state, it, false)).collect(),
        nearest: nearest.map(|it| place(state, it, false)),
        rules: all.iter().map(|it| place(state, it, true)).collect(),
        audit,
    }
}

fn names(ids: &[PolicyId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// The name of a reason, the rules that allow, and the nearest one.
fn parts(why: &Why) -> (&'static str, &[RuleResult], Option<&RuleResult>) {
    match why {
        Why::Itself => ("itself", &[][..], None),
        Why::Node => ("own-node", &[][..], None),
        Why::NotIsolated => ("not-isolated", &[][..], None),
        Why::Allowed { by, .. } => ("allowed-by-rule", by.as_slice(), None),
        Why::Denied { nearest, .. } => ("no-rule", &[][..], nearest.as_ref()),
    }
}

fn place(state: &State, result: &RuleResult, with_outcome: bool) -> Place {
    let (outcome, differences) = match &result.outcome {
        Outcome::Allows => ("allows", Vec::new()),
        Outcome::Misses(changes) => ("misses", explain::differences(changes)),
        Outcome::Never => ("never", Vec::new()),
    };
    let path = result.path();
    Place {
        policy: result.rule.policy.to_string(),
        location: state.place(&result.rule.policy, &path),
        path,
        port_path: result.port_path(),
        differences,
        outcome: with_outcome.then_some(outcome.into()),
    }
}

/// The essence of decisions: pairs with equal essences have the same explanation. Pods are
/// represented by their workloads, and the addresses of the pair by nothing.
pub(super) fn essence(
    state: &State,
    consents: &[(Consent, Option<Why>)],
    addresses: [IpAddr; 2],
) -> String {
    let workloads = consents.iter().filter_map(|(it, _)| state.cluster.pods.get(&it.pod));
    let workloads = workloads.map(|pod| (pod.id.to_string(), state.workloads.of(pod).to_string()));
    let addresses = addresses.into_iter().map(|it| (format!("{it} "), String::new()));
    // Longer names first: one may begin with another.
    let mut names: Vec<(String, String)> = workloads.chain(addresses).collect();
    names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    let anonymous = |text: String| {
        names.iter().fold(text, |text, (name, stands_for)| text.replace(name, stands_for))
    };
    let consents = consents.iter().map(|(it, would)| {
        let would = would.as_ref().map(essence_of).unwrap_or_default();
        let why = essence_of(&it.why);
        anonymous(format!("{} {} {why} {would}", it.pod, it.direction.name()))
    });
    consents.collect::<Vec<_>>().join("\n")
}

fn essence_of(why: &Why) -> String {
    match why {
        Why::Allowed { isolating, by } => {
            let by: Vec<_> = by.iter().map(|it| (&it.rule, it.path(), it.port)).collect();
            format!("{isolating:?} {by:?}")
        }
        Why::Denied { isolating, nearest } => {
            let nearest = nearest.as_ref().map(|it| (&it.rule, it.path(), differences(it)));
            format!("{isolating:?} {nearest:?}")
        }
        other => format!("{other:?}"),
    }
}

fn differences(result: &RuleResult) -> Vec<String> {
    match &result.outcome {
        Outcome::Misses(changes) => explain::differences(changes),
        Outcome::Allows | Outcome::Never => Vec::new(),
    }
}

/// The names of pods that a note lists, the first few.
pub(super) fn some(pods: &[&PodId]) -> String {
    const MOST: usize = 3;
    let names: Vec<String> = pods.iter().take(MOST).map(ToString::to_string).collect();
    match pods.len().checked_sub(MOST) {
        Some(more) if more > 0 => format!("{} and {more} more", names.join(", ")),
        _ => names.join(", "),
    }
}
