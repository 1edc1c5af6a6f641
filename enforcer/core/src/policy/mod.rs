//! From policies to verdicts.
//!
//! [`compile()`] turns the cluster's state into [`Compiled`]: classes of addresses (columns), and for
//! each isolated direction of a local pod a verdict for each class (a row). [`mod@reference`] answers
//! single questions slowly, straight from the Kubernetes documentation. The two share nothing but
//! the model, and tests compare their answers.
//!
//! The compiler, in the order of the data:
//!
//! ```text
//! subjects   local pods and the policies that select them  ─► rows: lists of rules
//! terms      the peers that those rules name, with ports
//! peers      pods alike in namespace, labels and ports     ─► grants of pods' addresses
//! regions    nested blocks                                 ─► grants of prefixes
//! compile    equal grants are one column, equal rows one row
//! ```
//! `selectors` finds the selectors that match labels, `grants` and `verdicts` do the set
//! algebra on small numbers.
//!
//! What belongs here: the semantics of policies (rules S, R and C5 of addresses). What does not:
//! numbers, sizes and layouts of the kernel's tables ([`crate::tables`]), and everything that holds
//! for packets regardless of policy (rules A, N, P), which the programs decide.

mod compile;
mod compiled;
mod engine;
mod grants;
mod peers;
mod ports;
pub mod reference;
mod regions;
mod selectors;
mod subjects;
mod terms;
#[cfg(test)]
pub(crate) mod tests;
mod verdicts;

pub use compile::compile;
pub use compiled::{Column, Compiled, PodPolicy, PortSet, Row, RowId, Verdict};
pub use engine::{Delta, Engine, Kind, Move, Number, Target, Touched};
pub(crate) use verdicts::VerdictId;
