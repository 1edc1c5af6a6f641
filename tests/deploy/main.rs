//! What `deploy/` holds, rendered by the real kubectl, helm and promtool: objects that Kubernetes
//! knows, privileges no wider than said, arguments that the agent takes, kustomize and Helm alike.
//!
//! The programs are named by `ENFORCER_KUBECTL`, `ENFORCER_HELM` and `ENFORCER_PROMTOOL`, which
//! `cargo xtask test` sets; else they are those of the PATH. No test here needs root.
#![expect(clippy::unwrap_used, clippy::panic, reason = "how a test fails")]

mod arguments;
mod documents;
mod monitoring;
mod parity;
mod privileges;
mod render;
mod schema;
mod shapes;
