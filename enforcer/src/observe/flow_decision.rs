//! The decisions of a flow's ends, as parts of documents.

use enforcer_core::explain::RuleResult;
use enforcer_core::flows::{Decision, Miss};
use serde::{Deserialize, Serialize};

use super::Nearest;

/// A rule that allows a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRule {
    /// The policy as `namespace/name`.
    pub policy: String,
    /// The field, such as `spec.ingress[1].from[0].podSelector`.
    pub path: String,
}

/// The decision of one end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowDecision {
    /// `egress` for the sender, `ingress` for the receiver.
    pub direction: String,
    /// `itself`, `own-node`, `not-isolated`, `allowed-by-rule` or `no-rule`.
    pub reason: String,
    /// The policies that isolate the pod in this direction.
    #[serde(default)]
    pub isolated_by: Vec<String>,
    /// The rules that allow the flow.
    #[serde(default)]
    pub rules: Vec<FlowRule>,
    /// The nearest rule of a denial.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nearest: Option<Nearest>,
    /// The opposite decision if no policy were in audit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub audit: Option<FlowAudit>,
}

/// The decision of an end if no policy were in audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowAudit {
    /// The policies in audit that would isolate the pod in this direction.
    pub policies: Vec<String>,
    /// Whether the end would allow the flow.
    pub allows: bool,
    /// The rules that would allow it, as far as they are known.
    #[serde(default)]
    pub rules: Vec<FlowRule>,
    /// The nearest rule, if it would be denied.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nearest: Option<Nearest>,
}

impl FlowDecision {
    pub(super) fn new(decision: &Decision) -> Self {
        let audit = decision.audit.as_ref().map(|it| FlowAudit {
            policies: it.policies.clone(),
            allows: it.allows,
            rules: rules(&it.by),
            nearest: it.nearest.as_ref().map(nearest),
        });
        Self {
            direction: decision.direction.name().to_owned(),
            reason: decision.reason.to_owned(),
            isolated_by: decision.isolated_by.clone(),
            rules: rules(&decision.by),
            nearest: decision.nearest.as_ref().map(nearest),
            audit,
        }
    }
}

fn rules(by: &[RuleResult]) -> Vec<FlowRule> {
    let rule = |it: &RuleResult| FlowRule { policy: it.rule.policy.to_string(), path: it.path() };
    by.iter().map(rule).collect()
}

fn nearest(miss: &Miss) -> Nearest {
    Nearest {
        policy: miss.policy.clone(),
        path: miss.path.clone(),
        differences: miss.differences.clone(),
    }
}
