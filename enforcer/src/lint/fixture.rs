//! Findings on a text, for tests.

use std::path::Path;

use super::{Estate, Finding, run};
use crate::source::manifests::{self, Inspection};

/// A policy `default/p` with this specification.
pub(super) fn policy(spec: &str) -> String {
    named("p", spec)
}

/// A policy of this name in `default`.
pub(super) fn named(name: &str, spec: &str) -> String {
    let lines: String = spec.lines().map(|it| format!("  {it}\n")).collect();
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec:\n{lines}"
    )
}

pub(super) fn findings(text: &str) -> Vec<Finding> {
    let inspections = [Inspection::new(Path::new("a.yaml"), text.as_bytes())];
    let (cluster, conflicts) = manifests::cluster(&inspections);
    assert_eq!(conflicts, []);
    let declared: Vec<_> = inspections.iter().flat_map(Inspection::declared).collect();
    run(&Estate::new(&declared, &cluster))
}

/// The lints and the paths of all findings.
pub(super) fn found(text: &str) -> Vec<(&'static str, String)> {
    findings(text).into_iter().map(|it| (it.lint, it.path)).collect()
}

/// The snippet of the only finding.
pub(super) fn snippet(text: &str) -> String {
    let mut found = findings(text);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0).snippet.unwrap_or_default()
}
