//! Attempts to connect by workload: those that were dropped, and those that policies in audit would decide
//! otherwise.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use enforcer_core::flows::{Decision, FlowEnd, Key as FlowKey};
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use prometheus_client::encoding::DescriptorEncoder;

use super::super::{DropRecord, PodProtection};
use super::encode::{Label, counters};

/// The most series of a family. Further ones are counted with empty labels.
const MOST: usize = 1_000;

/// The effects of a policy in audit.
const EFFECTS: [&str; 2] = ["would-deny", "would-allow"];

/// A family of counters.
#[derive(Debug)]
pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    /// The name of the label [`Series::what`].
    what: &'static str,
    /// The series that a pod can have.
    expected: fn(&PodProtection) -> Vec<Series>,
}

/// Attempts that were dropped.
pub(super) const DENIALS: Family = Family {
    name: "drop_attempts",
    help: "Attempts to connect whose first packet was reported as dropped, by the workload of the pod \
           that dropped it; policy: the one that isolates it, if it is the only one.",
    what: "reason",
    expected: denials,
};

/// Connections that policies in audit would decide otherwise.
pub(super) const AUDITS: Family = Family {
    name: "audit_connections",
    help: "Connections that policies in audit would deny (effect would-deny) or allow (would-allow), by \
           the workload of the pod that they select; policy: the one in audit, if it is the only one.",
    what: "effect",
    expected: audits,
};

/// The labels of a counter.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Series {
    namespace: String,
    workload: String,
    direction: String,
    /// The reason of a drop, or the effect of a policy in audit.
    what: String,
    /// The policy, if it is the only one.
    policy: String,
}

/// Attempts by series.
pub(super) type Counts = BTreeMap<Series, u64>;

/// The attempts of a family since the agent started.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<Counts>);

impl Attempts {
    /// Counts attempts.
    pub(super) fn add(&self, series: Series, count: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = counts.len() >= MOST && !counts.contains_key(&series);
        *counts.entry(if full { Series::default() } else { series }).or_default() += count;
    }

    /// The counts. Those that these pods can have start at zero, so that an alert on their rate sees the
    /// first one.
    pub(super) fn counts<'p>(
        &self,
        family: &Family,
        pods: impl IntoIterator<Item = &'p PodProtection>,
    ) -> Counts {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for series in pods.into_iter().flat_map(family.expected) {
            if counts.len() < MOST {
                counts.entry(series).or_default();
            }
        }
        counts
    }
}

impl Family {
    pub(super) fn encode(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        counts: &Counts,
    ) -> fmt::Result {
        let counts = counts.iter().map(|(series, count)| {
            let labels: [Label<'_>; 5] = [
                ("namespace", &series.namespace),
                ("workload", &series.workload),
                ("direction", &series.direction),
                (self.what, &series.what),
                ("policy", &series.policy),
            ];
            (labels, *count)
        });
        counters(encoder, self.name, self.help, counts)
    }
}

impl Series {
    /// The series of an attempt at the workload whose pod dropped it.
    pub(super) fn of_drop(record: &DropRecord) -> Self {
        let attribution = &record.attribution;
        let own = match record.direction.as_str() {
            "ingress" => attribution.to_workload.as_deref(),
            _ => attribution.from_workload.as_deref(),
        };
        let pod = record.pod.as_deref();
        let namespace =
            pod.and_then(|it| it.split_once('/')).map_or("", |(namespace, _)| namespace);
        let (of, workload) = own.map(named).unwrap_or_default();
        Self {
            namespace: namespace.to_owned(),
            workload: if of == namespace { workload.to_owned() } else { String::new() },
            direction: record.direction.clone(),
            what: record.reason.clone(),
            policy: only(&attribution.isolated_by),
        }
    }

    /// The series of connections whose decision at one end would be reversed.
    pub(super) fn of_audit(flow: &FlowKey, decision: &Decision) -> Option<Self> {
        let audit = decision.audit.as_ref()?;
        let own = match decision.direction {
            Direction::Ingress => &flow.to,
            Direction::Egress => &flow.from,
        };
        let (namespace, workload) = match own {
            FlowEnd::Workload(name) => named(name),
            _ => Default::default(),
        };
        let [would_deny, would_allow] = EFFECTS;
        Some(Self {
            namespace: namespace.to_owned(),
            workload: workload.to_owned(),
            direction: decision.direction.name().to_owned(),
            what: if audit.allows { would_allow } else { would_deny }.to_owned(),
            policy: only(&audit.policies),
        })
    }

    fn of_pod(pod: &PodProtection, direction: Direction, what: &str, policies: &[String]) -> Self {
        Self {
            namespace: pod.workload.namespace.clone(),
            workload: pod.workload.name.clone(),
            direction: direction.name().to_owned(),
            what: what.to_owned(),
            policy: only(policies),
        }
    }
}

/// Namespace and name of a workload, without its kind, which is only guessed.
fn named(workload: &str) -> (&str, &str) {
    let name = workload.split_once(" (").map_or(workload, |(name, _)| name);
    name.split_once('/').unwrap_or_default()
}

/// The policy, if it is the only one.
fn only(policies: &[String]) -> String {
    match policies {
        [policy] => policy.clone(),
        _ => String::new(),
    }
}

/// The denials of an isolated pod.
fn denials(pod: &PodProtection) -> Vec<Series> {
    let directions = [(Direction::Ingress, &pod.ingress), (Direction::Egress, &pod.egress)];
    let isolated = directions.into_iter().filter(|(_, policies)| !policies.is_empty());
    let denied = Reason::Denied.name();
    isolated.map(|(it, policies)| Series::of_pod(pod, it, denied, policies)).collect()
}

/// The effects of a pod's policies in audit.
fn audits(pod: &PodProtection) -> Vec<Series> {
    let directions = Direction::ALL.into_iter().filter(|_| !pod.audit.is_empty());
    let of = |direction| EFFECTS.map(|it| Series::of_pod(pod, direction, it, &pod.audit));
    directions.flat_map(of).collect()
}

#[cfg(test)]
mod tests;
