//! The contents of `deploy/`, rendered by the real kubectl, helm and promtool: valid objects, no
//! more privileges than documented, valid arguments, the same result from kustomize and Helm.
//!
//! `ENFORCER_KUBECTL`, `ENFORCER_HELM` and `ENFORCER_PROMTOOL` name the programs, as set by
//! `cargo xtask test`; by default they are those on the PATH. No test here needs root.
//!
//! What belongs here: everything that a user installs. What does not: running it (`scenarios`).
#![expect(clippy::unwrap_used, clippy::panic, reason = "how a test fails")]

mod arguments;
mod chart;
mod documents;
mod guides;
mod monitoring;
mod parity;
mod privileges;
mod render;
mod schema;
mod shapes;
