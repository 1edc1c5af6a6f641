//! Kubernetes NetworkPolicy, enforced by eBPF beside any CNI.
//!
//! ```text
//! source (manifests, Kubernetes) ─► enforcer_core: model ─► policy ─► tables ─► kernel
//!                                                  ▲                            ▲
//!                                         node (netlink) ───────────────────────┘
//! ```
//! What is pure is in the crate [`enforcer_core`]; only [`kernel`] speaks to BPF.

pub mod agent;

pub mod cli;
pub mod kernel;
pub mod kube_events;
pub mod node;
pub mod nri;
pub mod observe;
pub mod source;
pub mod taint;
