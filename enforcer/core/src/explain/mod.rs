//! Explanations: why a connection is allowed or denied, and what a change of policy changes.
//!
//! ```text
//! Cluster, question ─► connection ─► rule ─► labels, ports ─► Consent: verdict, rules, nearest miss
//! Cluster, Cluster  ─► diff       (compiled classes of both)  ─► connections opened and closed
//! Cluster           ─► matrix     (compiled classes)          ─► the connections of all pods
//! Cluster           ─► coverage, sentences, service, workload
//! ```
//! It shares neither code with the compiler nor with [`crate::policy::mod@reference`], except that
//! [`fn@diff`] and [`fn@matrix`] compare compiled classes. Tests compare its answers with the reference evaluator's.
//!
//! What belongs here: answers as plain data, and their wording in one line. What does not: the
//! formats of documents, files and lines of policies, I/O.

mod audit;
mod change;
mod connection;
mod coverage;
mod diff;
mod labels;
mod matrix;
mod ports;
mod rule;
mod sentences;
mod service;
mod workload;

pub use audit::{in_audit, would_be};
pub use change::{Change, cost, differences};
pub use connection::{
    Consent, Why, connection, connection_in, isolating, isolating_in, owners, owners_among,
    results, results_in, why, why_among,
};
pub use coverage::{Coverage, Protection, Unused, coverage, protection, unused};
pub use diff::{Diff, Difference, Opened, Party, diff};
pub use labels::{LabelFix, Want, fixes};
pub use matrix::{Matrix, matrix};
pub use rule::{Outcome, PeerRef, RuleRef, RuleResult};
pub use sentences::{peer_text, policy_sentences, port_text, ports_text, rule_text, selector_text};
pub use service::{Backend, Translation, backends, translate, translations};
pub use workload::{Workload, Workloads};
