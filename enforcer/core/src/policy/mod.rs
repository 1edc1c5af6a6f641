//! From policies to verdicts, purely.
//!
//! [`compile`] turns the cluster's state into [`Compiled`]: which addresses the local subjects'
//! policies tell apart, and what each subject allows each of them. [`reference`] answers single
//! questions the slow way, straight from the Kubernetes documentation; the two share nothing but
//! the model, and the tests hold them against each other.
//!
//! How the compiler works, in the order of the data:
//!
//! ```text
//! subjects   which policies select which local pod       ─► rows: lists of rules
//! terms      which peers those rules name, and with which ports
//! peers      pods alike in namespace, labels and ports   ─► what a pod's address is granted
//! regions    nested blocks                               ─► what each prefix is granted
//! compile    equal grants are one column, equal rows one row
//! ```
//! `selectors` finds the selectors that match labels, `grants` and `verdicts` do the set
//! algebra on small numbers.

mod compile;
mod compiled;
mod grants;
mod peers;
mod ports;
pub mod reference;
mod regions;
mod selectors;
mod subjects;
mod terms;
#[cfg(test)]
mod tests;
mod verdicts;

pub use compile::compile;
pub use compiled::{Column, Compiled, PodPolicy, PortSet, Row, RowId, Verdict};
