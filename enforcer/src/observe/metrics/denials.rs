//! Attempts to connect that were denied, by workload.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use enforcer_ebpf::contract::verdict::Reason;
use prometheus_client::encoding::DescriptorEncoder;

use super::super::{DropRecord, PodProtection, Report};
use super::encode::{Label, counters};

/// The most series of attempts. Further ones are counted with empty labels.
pub(super) const MOST: usize = 1_000;

/// Namespace and name of the workload, direction, reason, and the policy if it is the only one.
pub(super) type Key = (String, String, String, String, String);

/// Attempts by series.
pub(super) type Counts = BTreeMap<Key, u64>;

/// The attempts of workloads since the agent started.
#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<Counts>);

impl Denials {
    /// Counts an attempt at the workload whose pod dropped it.
    pub(super) fn note(&self, record: &DropRecord) {
        let key = key(record);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = counts.len() >= MOST && !counts.contains_key(&key);
        *counts.entry(if full { Key::default() } else { key }).or_default() += 1;
    }

    /// The counts. The denials of an isolated workload start at zero, so that an alert on their rate
    /// sees the first one.
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

pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, counts: &Counts) -> fmt::Result {
    let help = "Attempts to connect whose first packet was reported as dropped, by the workload of \
                the pod that dropped it; policy: the one that isolates it, if it is the only one.";
    let counts = counts.iter().map(|((namespace, workload, direction, reason, policy), count)| {
        let labels: [Label<'_>; 5] = [
            ("namespace", namespace),
            ("workload", workload),
            ("direction", direction),
            ("reason", reason),
            ("policy", policy),
        ];
        (labels, *count)
    });
    counters(encoder, "drop_attempts", help, counts)
}

fn key(record: &DropRecord) -> Key {
    let attribution = &record.attribution;
    let own = match record.direction.as_str() {
        "ingress" => attribution.to_workload.as_ref(),
        _ => attribution.from_workload.as_ref(),
    };
    // Without the kind, which is only guessed.
    let own = own.map(|it| it.split_once(" (").map_or(it.as_str(), |(name, _)| name));
    let pod = record.pod.as_deref();
    let namespace = pod.and_then(|it| it.split_once('/')).map(|(namespace, _)| namespace);
    let workload = own.and_then(|it| it.split_once('/'));
    let workload = workload.filter(|(it, _)| Some(*it) == namespace).map(|(_, name)| name);
    (
        namespace.unwrap_or_default().to_owned(),
        workload.unwrap_or_default().to_owned(),
        record.direction.clone(),
        record.reason.clone(),
        only(&attribution.isolated_by),
    )
}

/// The policy, if it is the only one.
pub(super) fn only(policies: &[String]) -> String {
    match policies {
        [policy] => policy.clone(),
        _ => String::new(),
    }
}

/// The series that a pod can have.
fn expected(protection: &PodProtection) -> impl Iterator<Item = Key> {
    let PodProtection { workload, ingress, egress, .. } = protection;
    let directions = [("ingress", ingress), ("egress", egress)].into_iter();
    let isolated = directions.filter(|(_, policies)| !policies.is_empty());
    isolated.map(|(direction, policies)| {
        (
            workload.namespace.clone(),
            workload.name.clone(),
            direction.to_owned(),
            Reason::Denied.name().to_owned(),
            only(policies),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::{Attribution, Metrics, PodMetrics, fixture};
    use super::*;

    fn denied(workload: &str) -> DropRecord {
        DropRecord {
            reason: "denied".to_owned(),
            attribution: Attribution {
                from_workload: Some(format!("hello/{workload} (deploy)")),
                isolated_by: vec!["hello/deny".to_owned()],
                ..Attribution::default()
            },
            ..fixture::drop()
        }
    }

    fn lines(metrics: &Metrics) -> Vec<String> {
        let text = metrics.text(Report { heartbeat_age: Duration::ZERO, ..fixture::report() });
        let ours = text.lines().filter(|it| it.starts_with("enforcer_drop_attempts_total"));
        ours.map(str::to_owned).collect()
    }

    #[test]
    fn series_start_at_zero_and_count_attempts() {
        let metrics = Metrics::new(PodMetrics::Namespace);
        insta::assert_snapshot!(lines(&metrics).join("\n"), @r#"
        enforcer_drop_attempts_total{namespace="hello",workload="pod1",direction="ingress",reason="denied",policy=""} 0
        enforcer_drop_attempts_total{namespace="hello",workload="pod2",direction="egress",reason="denied",policy="hello/deny"} 0
        "#);
        metrics.denied(&denied("pod1"));
        metrics.denied(&denied("pod1"));
        insta::assert_snapshot!(lines(&metrics).join("\n"), @r#"
        enforcer_drop_attempts_total{namespace="hello",workload="pod1",direction="egress",reason="denied",policy="hello/deny"} 2
        enforcer_drop_attempts_total{namespace="hello",workload="pod1",direction="ingress",reason="denied",policy=""} 0
        enforcer_drop_attempts_total{namespace="hello",workload="pod2",direction="egress",reason="denied",policy="hello/deny"} 0
        "#);
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let metrics = Metrics::new(PodMetrics::Namespace);
        for number in 0..MOST + 500 {
            metrics.denied(&denied(&format!("pod{number}")));
        }
        let lines = lines(&metrics);
        assert_eq!(lines.len(), MOST + 1);
        assert!(lines[0].contains("workload=\"\"") && lines[0].ends_with(" 500"), "{}", lines[0]);
    }
}
