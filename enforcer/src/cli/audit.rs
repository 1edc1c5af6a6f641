//! `enforcer audit`: what policies in audit would change.

use std::io::Write;

use clap::Args;

use super::agent::AgentArgs;
use super::ask::ask;
use super::inspect::SourceArgs;
use super::table::table;
use super::{flows, status};
use crate::inspect::{Output, allowing, document};
use crate::observe::{Audit, AuditedConnection, Flows, Status};

/// The help after the options.
pub(super) const HELP: &str =
    "A policy is in audit by its annotation enforcer.io/audit=\"true\", by its namespace's, or by the \
agent's --audit: it is not enforced, and the agent reports what it would deny and allow. Connections are \
counted since the agent started, as `enforcer flows` counts them.

--output rules prints policies that would allow what would be denied, with the connections as comments. They \
are in audit, too; read them before you apply them.

Exit codes: 0 no connection would be denied, 1 some would, 2 error.

Examples:
  kubectl annotate namespace shop enforcer.io/audit=true
  enforcer audit --namespace shop
  enforcer audit --namespace shop --output rules > policies.yaml
  enforcer audit -n shop && kubectl annotate namespace shop enforcer.io/audit-
  kubectl -n enforcer-system exec enforcer-x7k2p -- /enforcer audit -o json";

/// The output formats of `audit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum AuditOutput {
    /// Text for people.
    #[default]
    Text,
    /// JSON for programs; see docs/json.md.
    Json,
    /// Policies that would allow what would be denied, as manifests.
    Rules,
}

/// What to show of audit.
#[derive(Debug, Args)]
pub struct AuditView {
    /// Only policies of this namespace.
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Output format; json is one document.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: AuditOutput,
    /// Where pods, labels and Services are read for rules.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// The arguments of `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// What to show.
    #[command(flatten)]
    pub view: AuditView,
    /// The agent.
    #[command(flatten)]
    pub agent: AgentArgs,
}

/// Prints the report. Returns whether some connection would be denied.
///
/// # Errors
/// There is no agent at that address, or `out` can't be written.
pub async fn run(arguments: AuditArgs, out: &mut impl Write) -> anyhow::Result<bool> {
    let status = status::read(&ask(arguments.agent.status, "GET", "/status", "")?)?;
    let flows = flows::flows(&ask(arguments.agent.status, "GET", "/flows", "")?)?;
    print(&[status], flows, arguments.view, out).await
}

/// Prints a report. Returns whether some connection would be denied.
pub(super) async fn print(
    status: &[Status],
    flows: Flows,
    view: AuditView,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    let mut audit = Audit::new(status, &flows);
    if let Some(namespace) = &view.namespace {
        audit.keep_namespace(namespace);
    }
    let text = match view.output {
        AuditOutput::Text => text(&audit),
        AuditOutput::Json => document("audit", &audit, Output::Json)?.unwrap_or_default(),
        AuditOutput::Rules => {
            let state = view.source.read().await?;
            allowing(&state, flows.flows, view.namespace.as_deref()).to_string()
        }
    };
    out.write_all(text.as_bytes())?;
    Ok(audit.would_deny())
}

/// The report for people.
pub(super) fn text(audit: &Audit) -> String {
    let mut text = match (audit.all, audit.policies.as_slice()) {
        (true, _) => "All policies are in audit (--audit): nothing is enforced.\n".to_owned(),
        (false, []) => {
            let node = audit.node.replace(',', ", ");
            format!("No policy that selects pods of {node} is in audit.\n")
        }
        (false, policies) => format!("In audit, not enforced: {}\n", policies.join(", ")),
    };
    text += &format!("Connections from {} to {}", audit.since, audit.at);
    if audit.connections.is_empty() {
        text += ": the policies in audit would change none of them.\n";
    } else {
        text += "\n\n";
        text += &connections(&audit.connections);
    }
    if audit.missed > 0 {
        text += &format!("\nnot listed: {} connections that had no room\n", audit.missed);
    }
    for silent in &audit.silent {
        text += &format!("no answer: {silent}\n");
    }
    text
}

const HEADER: [&str; 6] = ["EFFECT", "FROM", "TO", "PORT", "CONNECTIONS", "SINCE"];

/// A row for each connection; below it the policies, and why.
fn connections(connections: &[AuditedConnection]) -> String {
    let table = table(&HEADER, connections.iter().map(row));
    let mut lines = table.lines();
    let mut text = lines.next().unwrap_or_default().to_owned() + "\n";
    for (line, it) in lines.zip(connections) {
        text += &format!("{line}\n    {}: {}\n", it.policies.join(", "), why(it));
    }
    text
}

fn row(it: &AuditedConnection) -> Vec<String> {
    let port =
        it.port.map_or_else(|| it.protocol.clone(), |port| format!("{port}/{}", it.protocol));
    vec![
        it.effect.replace('-', " "),
        it.from.clone(),
        it.to.clone(),
        port,
        it.connections.to_string(),
        it.first_seen.clone(),
    ]
}

/// The rules that would allow it, or the nearest one that does not. What stands before it names the policies.
fn why(it: &AuditedConnection) -> String {
    let place = |policy: &str, path: &str| match it.policies.as_slice() {
        [only] if only == policy => path.to_owned(),
        _ => format!("{policy} {path}"),
    };
    match &it.nearest {
        Some(nearest) => {
            let differences = nearest.differences.join(", ");
            format!("nearest: {}: {differences}", place(&nearest.policy, &nearest.path))
        }
        None if !it.rules.is_empty() => {
            let rules = it.rules.iter().map(|rule| place(&rule.policy, &rule.path));
            rules.collect::<Vec<_>>().join(", ")
        }
        // Of a denied attempt, the agent knows which policies would allow it, and not by which rules.
        None if it.effect == "would-allow" => match it.policies.as_slice() {
            [_] => "one of its rules".to_owned(),
            _ => "one of their rules".to_owned(),
        },
        None => format!("no {} rule", it.direction),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Nearest;

    fn connection(effect: &str) -> AuditedConnection {
        let nearest = Nearest {
            policy: "shop/db-clients".to_owned(),
            path: "spec.ingress[0].from[0].podSelector".to_owned(),
            differences: vec!["shop/web-5d9f-x7k2p lacks label role=api".to_owned()],
        };
        AuditedConnection {
            policies: vec!["shop/db-clients".to_owned(), "shop/deny".to_owned()],
            effect: effect.to_owned(),
            from: "shop/web (deploy)".to_owned(),
            to: "shop/db (sts)".to_owned(),
            protocol: "TCP".to_owned(),
            port: Some(5432),
            direction: "ingress".to_owned(),
            connections: 12,
            first_seen: "2026-11-27T00:50:00Z".to_owned(),
            last_seen: "2026-11-27T00:55:00Z".to_owned(),
            rules: Vec::new(),
            nearest: (effect == "would-deny").then_some(nearest),
        }
    }

    fn audit(connections: Vec<AuditedConnection>) -> Audit {
        Audit {
            node: "node-1".to_owned(),
            since: "2026-11-27T00:00:00Z".to_owned(),
            at: "2026-11-27T00:55:10Z".to_owned(),
            policies: vec!["shop/db-clients".to_owned(), "shop/deny".to_owned()],
            connections,
            ..Audit::default()
        }
    }

    #[test]
    fn connections_that_would_be_denied_have_the_nearest_rule() {
        let all = vec![connection("would-deny"), connection("would-allow")];
        insta::assert_snapshot!(text(&audit(all)));
    }

    #[test]
    fn other_namespaces_are_left_out() {
        let mut audit = audit(vec![connection("would-deny")]);
        assert!(audit.would_deny());
        audit.keep_namespace("mall");
        assert!(!audit.would_deny() && audit.policies.is_empty());
        assert!(text(&audit).contains("would change none of them"));
    }
}
