//! Flows as tables.

use jiff::Timestamp;

use super::super::table::table;
use crate::observe::{FlowDecision, FlowRecord, Flows, PolicyUse};

/// The flows.
pub(super) fn flows(flows: &Flows) -> String {
    // Most flows go to pods, not through Services.
    let has_services = flows.flows.iter().any(|it| !it.services.is_empty());
    let row = |service: String, cells: [String; 7]| {
        let [from, to, port, verdict, connections, last, by] = cells;
        let service = has_services.then_some(service);
        let end = [verdict, connections, last, by];
        [from, to, port].into_iter().chain(service).chain(end).collect::<Vec<_>>()
    };
    let rows = flows.flows.iter().map(|it| {
        let connections = match it.open {
            0 => it.connections.to_string(),
            open => format!("{} ({open} open)", it.connections),
        };
        let cells = [
            it.from.clone(),
            it.to.clone(),
            port(it),
            it.verdict.clone(),
            connections,
            ago(&it.last_seen, &flows.at),
            by(it),
        ];
        row(it.services.join(", "), cells)
    });
    let titles = ["FROM", "TO", "PORT", "VERDICT", "CONNECTIONS", "LAST PACKET", "DECIDED BY"];
    let header = row("SERVICE".to_owned(), titles.map(str::to_owned));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    table(&header, rows) + &notes(flows)
}

/// How long before `now` a time is, in one unit; the time itself if one of them is no timestamp.
fn ago(time: &str, now: &str) -> String {
    let (Ok(then), Ok(now)) = (time.parse::<Timestamp>(), now.parse::<Timestamp>()) else {
        return time.to_owned();
    };
    let seconds = now.duration_since(then).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (2.., ..) => format!("{days}d ago"),
        (_, 3.., _) => format!("{hours}h ago"),
        (_, _, 2..) => format!("{minutes}m ago"),
        _ => format!("{seconds}s ago"),
    }
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

#[cfg(test)]
mod tests {
    use super::ago;

    #[test]
    fn ages_have_one_unit() {
        let now = "2026-11-27T12:00:00Z";
        for (time, expected) in [
            ("2026-11-27T11:59:59Z", "1s ago"),
            ("2026-11-27T11:58:01Z", "119s ago"),
            ("2026-11-27T11:58:00Z", "2m ago"),
            ("2026-11-27T09:00:01Z", "179m ago"),
            ("2026-11-27T09:00:00Z", "3h ago"),
            ("2026-11-25T12:00:01Z", "47h ago"),
            ("2026-11-25T12:00:00Z", "2d ago"),
            // Clocks of nodes differ.
            ("2026-11-27T12:00:03Z", "0s ago"),
            ("never", "never"),
        ] {
            assert_eq!(ago(time, now), expected, "{time}");
        }
    }
}
