//! The decision of one end of a flow, in words.

use std::net::IpAddr;

use enforcer_ebpf::contract::verdict::Direction;

use crate::explain::{Change, Outcome, RuleResult, Why, why_among};
use crate::model::{Cluster, Pod, Traffic};

/// The nearest rule of a denial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miss {
    /// The policy as `namespace/name`.
    pub policy: String,
    /// The field, such as `spec.ingress[1].from[0].podSelector`.
    pub path: String,
    /// What keeps it from allowing the flow.
    pub differences: Vec<String>,
}

/// The decision of one end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// [`Direction::Egress`] for the initiator.
    pub direction: Direction,
    /// `itself`, `own-node`, `not-isolated`, `allowed-by-rule` or `no-rule`.
    pub reason: &'static str,
    /// The policies that isolate the pod in this direction.
    pub isolated_by: Vec<String>,
    /// The rules that allow the flow.
    pub by: Vec<RuleResult>,
    /// The nearest rule of a denial.
    pub nearest: Option<Miss>,
}

impl Decision {
    /// Whether this end allows the flow.
    #[must_use]
    pub fn allows(&self) -> bool {
        self.reason != "no-rule"
    }

    fn new(direction: Direction, why: Why) -> Self {
        let isolated_by = why.isolating().iter().map(ToString::to_string).collect();
        let (reason, by, nearest) = match why {
            Why::Itself => ("itself", Vec::new(), None),
            Why::Node => ("own-node", Vec::new(), None),
            Why::NotIsolated => ("not-isolated", Vec::new(), None),
            Why::Allowed { by, .. } => ("allowed-by-rule", by, None),
            Why::Denied { nearest, .. } => ("no-rule", Vec::new(), nearest),
        };
        Self { direction, reason, isolated_by, by, nearest: nearest.map(|it| miss(&it)) }
    }
}

fn miss(result: &RuleResult) -> Miss {
    let differences = match &result.outcome {
        Outcome::Misses(changes) => changes.iter().map(Change::to_string).collect(),
        Outcome::Allows | Outcome::Never => Vec::new(),
    };
    Miss { policy: result.rule.policy.to_string(), path: result.path(), differences }
}

/// The decisions of both ends that are pods. `from`, `to`: the addresses of one pair.
pub(super) fn decide<'a>(
    cluster: &'a Cluster,
    owners: &dyn Fn(IpAddr) -> Vec<&'a Pod>,
    from: (IpAddr, Option<&Pod>),
    to: (IpAddr, Option<&Pod>),
    traffic: Traffic,
) -> Vec<Decision> {
    let sides = [(Direction::Egress, from, to), (Direction::Ingress, to, from)];
    let decisions = sides.into_iter().filter_map(|(direction, (_, pod), (other, _))| {
        let pod = pod?;
        let why = if pod.addresses.contains(&other) {
            Why::Itself
        } else if cluster.node_addresses.contains(&other) {
            Why::Node
        } else {
            why_among(cluster, &pod.id, direction, other, owners(other), traffic)
        };
        Some(Decision::new(direction, why))
    });
    decisions.collect()
}
