//! Kubernetes NetworkPolicy, enforced by eBPF beside any CNI.
//!
//! ```text
//! source (manifests) ─► model ─► policy ─► tables ─► kernel
//!                         ▲                            ▲
//!                node (netlink) ───────────────────────┘
//! ```
//! Everything from `model` to `tables` is pure; only `kernel` speaks to BPF.

pub mod agent;
pub mod announce;
pub mod cli;
pub mod kernel;
pub mod model;
pub mod node;
pub mod nri;
pub mod observe;
pub mod policy;
pub mod source;
pub mod tables;
