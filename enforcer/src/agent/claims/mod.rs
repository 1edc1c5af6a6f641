//! The pods of interfaces, over time (semantics S6, C5).
//!
//! ```text
//! node's snapshot ─► Interfaces ─┐   runtime's records ─► records ─┐ 1. by record
//!   (roles, first observation)   ├─► Bindings ◄────────────────────┤
//!   an earlier agent's owners ───┘      │      node::assign ───────┘ 2. by address, if
//!                                       ▼                               PodClaims grants it
//!                            Assignment, owner of each interface
//! ```
//! An interface is bound once: it keeps its pod until it is gone. Nothing that a pod can change is
//! evidence: addresses that it adds later, the namespace to which it moves its end, routes that it
//! advertises. Stronger evidence (the runtime's record) corrects weaker. Conflicting evidence of equal
//! strength closes the interface until it is gone.
//!
//! The tables that follow from it do not belong here.

mod bindings;
mod interfaces;
mod pod_claims;
mod records;

pub(super) use bindings::{Bindings, Known, World};
