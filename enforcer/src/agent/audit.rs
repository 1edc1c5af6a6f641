//! The report of policies in audit: what they would change, in the log and in metrics.

use enforcer_core::flows::{Decision, Key};

use super::shared::Shared;
use crate::observe::{Observed as _, audited_line};

/// The most lines for a look at the flow tables.
const LINES: usize = 20;

/// Reports the decisions that policies in audit would reverse and that are new.
pub(super) fn report(shared: &Shared) {
    let news = shared.seen_flows().ledger().take_audit();
    for (key, decision, connections) in &news {
        shared.metrics().audited(key, decision, *connections);
    }
    // What is denied, and would not be, is in the log of drops.
    let denied: Vec<_> = news.iter().filter(|it| would_deny(&it.1)).collect();
    for (key, decision, connections) in denied.iter().take(LINES) {
        log(key, decision, *connections, shared.log().is_json());
    }
    if let Some(more) = denied.len().checked_sub(LINES).filter(|it| *it > 0) {
        tracing::info!(target: "enforcer::audit", "{more} more kinds of connections would be denied: see `enforcer audit`");
    }
}

fn would_deny(decision: &Decision) -> bool {
    decision.audit.as_ref().is_some_and(|it| !it.allows)
}

/// In text, the line has everything: fields would repeat it.
fn log(key: &Key, decision: &Decision, connections: u64, as_json: bool) {
    let Some(audit) = &decision.audit else { return };
    let line = audited_line(key, decision);
    if !as_json {
        tracing::info!(target: "enforcer::audit", "{line}");
        return;
    }
    tracing::info!(
        target: "enforcer::audit",
        from = %key.from,
        to = %key.to,
        port = key.port,
        protocol = key.protocol,
        direction = decision.direction.name(),
        policies = audit.policies.join(","),
        connections,
        "{line}"
    );
}
