//! Flows as tables.

use super::super::table::table;
use crate::observe::{FlowDecision, FlowRecord, Flows, PolicyUse};

/// The flows.
pub(super) fn flows(flows: &Flows) -> String {
    let rows = flows.flows.iter().map(|it| {
        vec![
            it.from.clone(),
            it.to.clone(),
            port(it),
            it.services.join(", "),
            it.verdict.clone(),
            it.connections.to_string(),
            it.open.to_string(),
            it.last_seen.clone(),
            by(it),
        ]
    });
    let header = [
        "FROM",
        "TO",
        "PORT",
        "SERVICE",
        "VERDICT",
        "CONNECTIONS",
        "OPEN",
        "LAST PACKET",
        "DECIDED BY",
    ];
    table(&header, rows) + &notes(flows)
}

/// The use of rules.
pub(super) fn uses(flows: &Flows) -> String {
    let rows = flows.policies.iter().map(|it| {
        let rule = it.rule.as_deref().and_then(|it| it.strip_prefix("spec."));
        let rule = rule.map_or_else(|| format!("{} (all)", it.direction), str::to_owned);
        vec![
            it.policy.clone(),
            rule,
            if it.rule.is_some() { it.connections.to_string() } else { String::new() },
            if it.rule.is_none() { it.denied.to_string() } else { String::new() },
            used(it),
        ]
    });
    table(&["POLICY", "RULE", "CONNECTIONS", "DENIED", "LAST USED"], rows) + &notes(flows)
}

fn used(it: &PolicyUse) -> String {
    match (&it.last_used, &it.rule) {
        (Some(time), _) => time.clone(),
        (None, Some(_)) => format!("unused since {}", it.since),
        (None, None) => String::new(),
    }
}

fn notes(flows: &Flows) -> String {
    let mut lines = "\n".to_owned();
    if !flows.node.is_empty() {
        let Flows { node, since, at, .. } = flows;
        let node = node.replace(',', ", ");
        lines += &format!("{since} to {at}, pods of {node} and everything that they talk to\n");
    }
    if flows.missed > 0 {
        lines += &format!("not listed: {} connections that had no room\n", flows.missed);
    }
    for note in &flows.notes {
        lines += &format!("note: {note}\n");
    }
    for silent in &flows.silent {
        lines += &format!("no answer: {silent}\n");
    }
    lines
}

/// Ends, port and verdict, such as `shop/web (deploy) → shop/db (sts) 5432/TCP allowed`.
pub(super) fn about(flow: &FlowRecord) -> String {
    let FlowRecord { from, to, verdict, .. } = flow;
    format!("{from} → {to} {} {verdict}", port(flow))
}

fn port(flow: &FlowRecord) -> String {
    match flow.port {
        Some(port) => format!("{port}/{}", flow.protocol),
        None => flow.protocol.clone(),
    }
}

/// The policies that decided.
pub(super) fn by(flow: &FlowRecord) -> String {
    let of_end = |it: &FlowDecision| {
        let direction = &it.direction;
        match it.reason.as_str() {
            "allowed-by-rule" => {
                let rules = it.rules.iter().map(|it| {
                    let path = it.path.strip_prefix("spec.").unwrap_or(&it.path);
                    format!("{} {path}", it.policy)
                });
                Some(rules.collect::<Vec<_>>().join(", "))
            }
            "no-rule" if flow.verdict == "allowed" => {
                Some(format!("{direction} would deny it now: {}", it.isolated_by.join(", ")))
            }
            // Of a flood of denials, the policies of some are looked up.
            "no-rule" if it.isolated_by.is_empty() => Some(format!("{direction} isolated")),
            "no-rule" => {
                let nearest = it.nearest.as_ref().map(|it| format!("; {it}")).unwrap_or_default();
                Some(format!("{direction} isolated by {}{nearest}", it.isolated_by.join(", ")))
            }
            _ => None,
        }
    };
    let ends: Vec<String> = flow.ends.iter().filter_map(of_end).collect();
    match (ends.is_empty(), flow.ends.is_empty()) {
        (false, _) => ends.join("; "),
        (true, false) => "no policy".to_owned(),
        (true, true) => "unknown".to_owned(),
    }
}
