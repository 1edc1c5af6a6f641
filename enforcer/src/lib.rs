//! Kubernetes NetworkPolicy, enforced by eBPF beside any CNI.
//!
//! ```text
//! source (manifests, Kubernetes) ─► enforcer_core: model ─► policy ─► tables ─► kernel
//!                                                  ▲                            ▲
//!                                         node (netlink) ───────────────────────┘
//! ```
//! [`agent`] connects these parts; [`nri`] delays new pods until they are programmed, [`conntrack`] knows
//! the connections that are older than the programs, [`observe`] serves metrics and status, [`inspect`] answers questions about policies, [`page`] shows the answers in a browser, [`kube_events`] and [`taint`] write to the API server, [`cli`] is the command
//! line. Code without I/O belongs in the crate [`enforcer_core`]; only [`kernel`] calls BPF.

pub mod agent;
pub mod check;
pub mod cli;
pub mod cni;
pub mod conntrack;
pub mod inspect;
pub mod kernel;
pub mod kube_events;
pub mod lint;
mod netlink;
pub mod node;
pub mod nri;
pub mod observe;
pub mod page;
pub mod reject;
pub mod source;
pub mod taint;
