//! Connections that policies in audit would decide otherwise, by workload.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use enforcer_core::flows::{Decision, FlowEnd, Key as FlowKey};
use enforcer_ebpf::contract::verdict::Direction;
use prometheus_client::encoding::DescriptorEncoder;

use super::super::{PodProtection, Report};
use super::denials::{Counts, Key, MOST, only};
use super::encode::{Label, counters};

/// The effects of a policy in audit.
const WOULD_DENY: &str = "would-deny";
const WOULD_ALLOW: &str = "would-allow";

/// The connections since the agent started.
#[derive(Debug, Default)]
pub(super) struct Audits(Mutex<Counts>);

impl Audits {
    /// Counts connections whose decision at one end would be reversed.
    pub(super) fn note(&self, flow: &FlowKey, decision: &Decision, connections: u64) {
        let Some(audit) = &decision.audit else { return };
        let (namespace, workload) = match decision.direction {
            Direction::Ingress => named(&flow.to),
            Direction::Egress => named(&flow.from),
        };
        let effect = if audit.allows { WOULD_ALLOW } else { WOULD_DENY };
        let direction = decision.direction.name().to_owned();
        let key = (namespace, workload, direction, effect.to_owned(), only(&audit.policies));
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = counts.len() >= MOST && !counts.contains_key(&key);
        *counts.entry(if full { Key::default() } else { key }).or_default() += connections;
    }

    /// The counts. Those of pods with policies in audit start at zero.
    pub(super) fn counts(&self, report: &Report) -> Counts {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for key in report.protection.values().flat_map(|it| expected(it)) {
            if counts.len() < MOST {
                counts.entry(key).or_default();
            }
        }
        counts
    }
}

/// Namespace and name of a workload, without its kind, which is only guessed.
fn named(end: &FlowEnd) -> (String, String) {
    let FlowEnd::Workload(name) = end else { return Default::default() };
    let name = name.split_once(" (").map_or(name.as_str(), |(name, _)| name);
    let (namespace, name) = name.split_once('/').unwrap_or_default();
    (namespace.to_owned(), name.to_owned())
}

/// The series that a pod can have.
fn expected(protection: &PodProtection) -> impl Iterator<Item = Key> {
    let PodProtection { workload, audit, .. } = protection;
    let directions = Direction::ALL.into_iter().filter(|_| !audit.is_empty());
    directions.map(|direction| {
        (
            workload.namespace.clone(),
            workload.name.clone(),
            direction.name().to_owned(),
            WOULD_DENY.to_owned(),
            only(audit),
        )
    })
}

pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, counts: &Counts) -> fmt::Result {
    let help = "Connections that policies in audit would deny (effect would-deny) or allow \
                (would-allow), by the workload of the pod that they select; policy: the one in \
                audit, if it is the only one.";
    let counts = counts.iter().map(|((namespace, workload, direction, effect, policy), count)| {
        let labels: [Label<'_>; 5] = [
            ("namespace", namespace),
            ("workload", workload),
            ("direction", direction),
            ("effect", effect),
            ("policy", policy),
        ];
        (labels, *count)
    });
    counters(encoder, "audit_connections", help, counts)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use enforcer_core::flows::{Verdict, WouldBe};

    use super::super::super::{Metrics, PodMetrics, fixture};
    use super::*;

    #[test]
    fn series_start_at_zero_and_count_connections() {
        let metrics = Metrics::new(PodMetrics::Namespace);
        let lines = |report: Report| {
            let text = metrics.text(report);
            let ours = text.lines().filter(|it| it.starts_with("enforcer_audit_connections_total"));
            ours.map(str::to_owned).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(lines(fixture::report()), "");
        let mut report = fixture::report();
        for protection in report.protection.values_mut() {
            Arc::make_mut(protection).audit = vec!["hello/deny".to_owned()];
        }
        let zero = lines(report);
        assert!(zero.contains("effect=\"would-deny\",policy=\"hello/deny\"} 0"), "{zero}");
        let would = WouldBe {
            policies: vec!["hello/deny".to_owned()],
            allows: false,
            by: Vec::new(),
            nearest: None,
        };
        let decision = Decision {
            direction: Direction::Ingress,
            reason: "not-isolated",
            isolated_by: Vec::new(),
            by: Vec::new(),
            nearest: None,
            audit: Some(would),
        };
        let flow = FlowKey {
            from: FlowEnd::Outside,
            to: FlowEnd::Workload("hello/web (deploy)".to_owned()),
            protocol: "TCP".to_owned(),
            port: Some(80),
            verdict: Verdict::WouldDeny,
        };
        metrics.audited(&flow, &decision, 2);
        metrics.audited(&flow, &decision, 3);
        insta::assert_snapshot!(lines(fixture::report()), @r#"enforcer_audit_connections_total{namespace="hello",workload="web",direction="ingress",effect="would-deny",policy="hello/deny"} 5"#);
    }
}
