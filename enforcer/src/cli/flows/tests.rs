use super::*;
use crate::observe::{FlowDecision, FlowRule, PolicyUse};

fn decision(direction: &str, reason: &str) -> FlowDecision {
    let rule =
        FlowRule { policy: "shop/db".to_owned(), path: "spec.ingress[0].from[0]".to_owned() };
    FlowDecision {
        direction: direction.to_owned(),
        reason: reason.to_owned(),
        isolated_by: vec!["shop/db".to_owned()],
        rules: if reason == "allowed-by-rule" { vec![rule] } else { Vec::new() },
        nearest: None,
        audit: None,
    }
}

fn flow(from: &str, to: &str, verdict: &str, ends: Vec<FlowDecision>) -> FlowRecord {
    let kind = |end: &str| if end.contains('/') { "workload" } else { "address" }.to_owned();
    FlowRecord {
        from: from.to_owned(),
        from_kind: kind(from),
        to: to.to_owned(),
        to_kind: kind(to),
        protocol: "TCP".to_owned(),
        port: Some(5432),
        verdict: verdict.to_owned(),
        connections: 3,
        at_receiver: 3,
        first_seen: "2026-11-27T00:00:00Z".to_owned(),
        last_seen: "2026-11-27T00:50:00Z".to_owned(),
        ends,
        ..FlowRecord::default()
    }
}

fn flows() -> Flows {
    let used = |rule: Option<&str>, last: Option<&str>, denied| PolicyUse {
        policy: "shop/db".to_owned(),
        direction: "ingress".to_owned(),
        rule: rule.map(str::to_owned),
        connections: u64::from(last.is_some()) * 3,
        denied,
        since: "2026-11-27T00:00:00Z".to_owned(),
        last_used: last.map(str::to_owned),
    };
    let both = vec![decision("egress", "not-isolated"), decision("ingress", "allowed-by-rule")];
    let web = FlowRecord {
        services: vec!["shop/db:5432".to_owned()],
        open: 2,
        ..flow("shop/web (deploy)", "shop/db (sts)", "allowed", both)
    };
    let denied = decision("ingress", "no-rule");
    Flows {
        node: "node-1".to_owned(),
        since: "2026-11-27T00:00:00Z".to_owned(),
        at: "2026-11-27T00:50:00Z".to_owned(),
        revision: 9,
        flows: vec![
            web,
            flow("192.0.2.7", "shop/db (sts)", "denied", vec![denied.clone()]),
            flow("ops/old \"x\"", "shop/db (sts)", "allowed", vec![denied]),
            flow("shop/web (deploy)", "192.0.2.7", "allowed", vec![]),
        ],
        policies: vec![
            used(None, None, 3),
            used(Some("spec.ingress[0]"), Some("2026-11-27T00:50:00Z"), 0),
            used(Some("spec.ingress[1]"), None, 0),
        ],
        missed: 7,
        notes: vec!["a note".to_owned()],
        silent: vec!["node-2: timed out".to_owned()],
    }
}

fn shown(output: FlowOutput, policies: bool, namespace: Option<&str>) -> String {
    let namespace = namespace.map(str::to_owned);
    let filter = Filter { namespace, ..Filter::default() };
    text(flows(), &FlowView { filter, policies, follow: false, output }).unwrap()
}

#[test]
fn tables() {
    let text = [
        shown(FlowOutput::Table, false, None),
        shown(FlowOutput::Table, true, None),
        shown(FlowOutput::Table, false, Some("ops")),
    ];
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn graphs() {
    let text = [shown(FlowOutput::Dot, false, None), shown(FlowOutput::Mermaid, false, None)];
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn following_prints_what_is_new() {
    let filter = Filter::default();
    let view = FlowView { filter, policies: false, follow: true, output: FlowOutput::Table };
    let (mut follower, mut out) = (Follower::default(), Vec::new());
    follower.print(&flows().flows, &view, &mut out).unwrap();
    let later = FlowRecord { connections: 5, ..flows().flows.remove(0) };
    follower.print(&[later], &view, &mut out).unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap());
}
