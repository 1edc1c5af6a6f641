use std::sync::Arc;

use enforcer_core::flows::{Verdict, WouldBe};

use super::super::super::{Attribution, Metrics, PodMetrics, Report, fixture};
use super::*;

fn lines(metrics: &Metrics, report: Report, family: &str) -> Vec<String> {
    let text = metrics.text(report);
    let ours = text.lines().filter(|it| it.starts_with(family));
    ours.map(str::to_owned).collect()
}

fn drops(metrics: &Metrics) -> Vec<String> {
    lines(metrics, fixture::report(), "enforcer_drop_attempts_total")
}

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

#[test]
fn denials_start_at_zero() {
    let metrics = Metrics::new(PodMetrics::Namespace);
    insta::assert_snapshot!(drops(&metrics).join("\n"), @r#"
    enforcer_drop_attempts_total{namespace="hello",workload="pod1",direction="ingress",reason="denied",policy=""} 0
    enforcer_drop_attempts_total{namespace="hello",workload="pod2",direction="egress",reason="denied",policy="hello/deny"} 0
    "#);
    metrics.denied(&denied("pod1"));
    metrics.denied(&denied("pod1"));
    insta::assert_snapshot!(drops(&metrics).join("\n"), @r#"
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
    let lines = drops(&metrics);
    assert_eq!(lines.len(), MOST + 1);
    assert!(lines[0].contains("workload=\"\"") && lines[0].ends_with(" 500"), "{}", lines[0]);
}

#[test]
fn both_effects_of_policies_in_audit_start_at_zero() {
    let metrics = Metrics::new(PodMetrics::Namespace);
    let audits = |report| lines(&metrics, report, "enforcer_audit_connections_total").join("\n");
    assert_eq!(audits(fixture::report()), "");
    let mut report = fixture::report();
    for protection in report.protection.values_mut() {
        Arc::make_mut(protection).audit = vec!["hello/deny".to_owned()];
    }
    let zero = audits(report);
    for effect in EFFECTS {
        let series = format!("effect=\"{effect}\",policy=\"hello/deny\"}} 0");
        assert!(zero.contains(&series), "{zero}");
    }
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
    insta::assert_snapshot!(audits(fixture::report()), @r#"enforcer_audit_connections_total{namespace="hello",workload="web",direction="ingress",effect="would-deny",policy="hello/deny"} 5"#);
}
