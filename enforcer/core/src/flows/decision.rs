//! The decision of one end of a flow, in words.

use std::net::IpAddr;

use enforcer_ebpf::contract::verdict::Direction;

use crate::explain::{Outcome, RuleResult, Why, differences, in_audit, why_among, would_be};
use crate::model::{Cluster, Pod, PolicyId, Traffic, View};

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
    /// The opposite decision if no policy were in audit; `None`: it would be the same.
    pub audit: Option<WouldBe>,
}

/// The decision of one end if no policy were in audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WouldBe {
    /// The policies in audit that would isolate the pod in this direction.
    pub policies: Vec<String>,
    /// Whether the end would allow the flow.
    pub allows: bool,
    /// The rules that would allow it, as far as they are known.
    pub by: Vec<RuleResult>,
    /// The nearest rule, if it would be denied.
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
        let nearest = nearest.map(|it| miss(&it));
        Self { direction, reason, isolated_by, by, nearest, audit: None }
    }
}

fn miss(result: &RuleResult) -> Miss {
    let differences = match &result.outcome {
        Outcome::Misses(changes) => differences(changes),
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
        if pod.addresses.contains(&other) {
            return Some(Decision::new(direction, Why::Itself));
        }
        if cluster.node_addresses.contains(&other) {
            return Some(Decision::new(direction, Why::Node));
        }
        let (id, owners) = (&pod.id, owners(other));
        let peers = owners.clone();
        let why = why_among(cluster, View::Enforced, id, direction, other, peers, traffic);
        let would = would_be(cluster, id, direction, other, owners, traffic, &why);
        let audit = would.map(|it| {
            let policies = in_audit(cluster, id, direction).map(PolicyId::to_string).collect();
            let allows = it.allows();
            let Decision { by, nearest, .. } = Decision::new(direction, it);
            WouldBe { policies, allows, by, nearest }
        });
        Some(Decision { audit, ..Decision::new(direction, why) })
    });
    decisions.collect()
}
