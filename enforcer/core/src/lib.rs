//! The pure part of the agent: cluster state in, ordered writes to the kernel's tables out.
//!
//! ```text
//! model ─► policy ─► tables ─► steps
//! ```
//! [`model`] is the cluster as plain data, [`policy`] compiles it into verdicts, [`tables`] plans
//! the writes that lead from what the kernel holds to what it should hold.
//!
//! What belongs here: semantics, and all that can be decided without looking at the machine.
//! What does not: I/O, clocks, threads, Kubernetes types, eBPF loading. Cargo enforces it: this
//! crate depends on none of the crates that these need.

pub mod model;
pub mod policy;
pub mod tables;
