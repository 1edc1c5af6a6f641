//! Findings on policies, for their authors. Pure.

use std::collections::BTreeSet;

use enforcer_ebpf::contract::verdict::Direction;

use enforcer_core::model::{Cluster, PodId, Policy, PolicyId};
use enforcer_core::tables::Unrepresented;

/// The reason of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A part of the policy is wrong, or has no effect.
    Mistake,
    /// The policy does not fit into a node's tables: pods fail closed (semantics R9).
    DoesNotFit,
}

impl Reason {
    /// The reason of the Event.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mistake => "PolicyMistake",
            Self::DoesNotFit => "PolicyDoesNotFit",
        }
    }
}

/// A finding on a policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Finding {
    /// The policy.
    pub policy: PolicyId,
    /// The kind of finding.
    pub reason: Reason,
    /// The text of the Event; the same on each node if the reason is a mistake.
    pub note: String,
}

/// The findings on policies that select a pod of this node: the agents of other nodes report the
/// others. `mistakes` has the remarks on each policy.
pub fn findings<'a>(
    cluster: &Cluster,
    local: &BTreeSet<&PodId>,
    mistakes: impl Iterator<Item = (&'a PolicyId, String)>,
    unrepresented: &[Unrepresented],
) -> BTreeSet<Finding> {
    let of_this_node = mistakes.filter(|(id, _)| {
        let policy = cluster.policies.get(id);
        policy.is_some_and(|policy| local.iter().any(|pod| selects(cluster, policy, pod)))
    });
    let mistakes = of_this_node.map(|(policy, note)| Finding {
        policy: policy.clone(),
        reason: Reason::Mistake,
        note,
    });
    let misfits = unrepresented.iter().flat_map(|it| {
        let policies = cluster.policies.values();
        let affected = policies
            .filter(|policy| isolates(policy, it.direction) && selects(cluster, policy, &it.pod));
        affected.map(|policy| Finding {
            policy: policy.id.clone(),
            reason: Reason::DoesNotFit,
            note: format!("{} of {} is closed: {}", it.direction.name(), it.pod, it.reason),
        })
    });
    mistakes.chain(misfits).collect()
}

fn selects(cluster: &Cluster, policy: &Policy, pod: &PodId) -> bool {
    let labels = cluster.pods.get(pod).map(|pod| &pod.labels);
    policy.id.namespace == pod.namespace
        && labels.is_some_and(|labels| policy.subjects.matches(labels))
}

fn isolates(policy: &Policy, direction: Direction) -> bool {
    match direction {
        Direction::Ingress => policy.ingress.is_some(),
        Direction::Egress => policy.egress.is_some(),
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use enforcer_core::model::{Pod, Requirement, Selector};
    use enforcer_core::tables::{Shortage, Table};

    fn cluster() -> Cluster {
        let pod = |namespace: &str, name: &str| {
            let id = PodId::new(namespace, name);
            let labels = [("app", name)].into();
            (id.clone(), Pod { labels, ..Pod::new(id) })
        };
        let policy = |name: &str, app: &str, egress: bool| {
            let id = PolicyId::new("a", name);
            let wanted = Requirement::In("app".to_owned(), [app.to_owned()].into());
            let subjects = Selector { requirements: [wanted].into() };
            let (ingress, egress) = (Some(Vec::new()), egress.then(Vec::new));
            (id.clone(), Policy { id, subjects, ingress, egress, audit: false })
        };
        Cluster {
            pods: [pod("a", "web"), pod("a", "db"), pod("b", "web")].into(),
            policies: [
                policy("web", "web", false),
                policy("both", "web", true),
                policy("db", "db", true),
            ]
            .into(),
            ..Cluster::default()
        }
    }

    fn found(local: &[PodId], mistakes: &[&str], unrepresented: &[Unrepresented]) -> Vec<String> {
        let ids: Vec<PolicyId> = mistakes.iter().map(|name| PolicyId::new("a", *name)).collect();
        let mistakes = ids.iter().map(|id| (id, "wrong".to_owned()));
        let local = local.iter().collect();
        let findings = findings(&cluster(), &local, mistakes, unrepresented);
        let name = |it: &Finding| format!("{} {}", it.policy.name, it.reason.name());
        findings.iter().map(name).collect()
    }

    #[test]
    fn mistakes_are_reported_by_nodes_with_a_pod_that_the_policy_selects() {
        let (web, db, other) =
            (PodId::new("a", "web"), PodId::new("a", "db"), PodId::new("b", "web"));
        assert_eq!(
            found(std::slice::from_ref(&web), &["web", "db", "gone"], &[]),
            ["web PolicyMistake"]
        );
        assert_eq!(found(&[db], &["web"], &[]), [""; 0]);
        assert_eq!(found(&[other], &["web"], &[]), [""; 0], "another namespace");
    }

    #[test]
    fn r9_a_pod_that_does_not_fit_is_reported_on_the_policies_of_that_direction() {
        let unrepresented = |direction| Unrepresented {
            pod: PodId::new("a", "web"),
            direction,
            shortage: Shortage { table: Table::Verdicts, limit: 1, needed: 2 },
            reason: "too much".to_owned(),
        };
        let of = |direction| found(&[], &[], &[unrepresented(direction)]);
        assert_eq!(of(Direction::Egress), ["both PolicyDoesNotFit"]);
        assert_eq!(of(Direction::Ingress), ["both PolicyDoesNotFit", "web PolicyDoesNotFit"]);
    }
}
