//! Kubernetes NetworkPolicy, enforced by eBPF beside any CNI.
//!
//! ```text
//! source (manifests, Kubernetes) ─► enforcer_core: model ─► policy ─► tables ─► kernel
//!                                                  ▲                            ▲
//!                                         node (netlink) ───────────────────────┘
//! ```
//! What is pure is in the crate [`enforcer_core`]; only [`kernel`] speaks to BPF.

pub mod agent;
pub mod announce;
pub mod cli;
pub mod kernel;
mod netlink;
pub mod node;
pub mod nri;
pub mod observe;
pub mod source;
