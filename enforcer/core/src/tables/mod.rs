//! The kernel tables: desired contents, the contents that the kernel has, and plans between them.
//!
//! [`State`] is what the kernel holds, as far as the agent knows. [`State::plan`] takes a new
//! [`Desired`] and returns the [`Step`]s that lead there, make before break; the state is then the
//! one after these steps. [`oracle::Image`] is a kernel made of vectors for tests.
//!
//! | files | |
//! |---|---|
//! | `plan`, `squeeze`, `ranking`, `held` | the stages of a plan; which rows are closed if a table is too small |
//! | `follow` (`link`, `work`, `excess`) | a plan at the cost of the difference, for an engine's result |
//! | `transition` | one stage: the order of its writes, and the proof of C1 |
//! | `classes`, `matching`, `merge` | the choice of class ids and of rows |
//! | `desired`, `goal`, `columns`, `regions`, `change` | the desired contents, in the form that planning needs |
//! | `trie4`, `trie6` (`pieces6`, `shortcuts6`), `ports`, `rows`, `endpoints`, `slots` | one table each: its shape, and a copy of the kernel's contents |
//! | `writer`, `alloc` | the steps so far; when an index may be reused |
//! | `step`, `shortage`, `sizes` | single writes; tables that are too small; fixed sizes |
//!
//! What belongs here: everything about the order and contents of writes. What does not: the writes
//! themselves and everything else that needs a kernel (the agent's `kernel` module), the layouts
//! and look-ups that the programs share (`enforcer-ebpf`), and the meaning of policies
//! ([`crate::policy`]).

mod alloc;
mod answer;
mod change;
mod classes;
mod columns;
mod desired;
mod endpoints;
mod excess;
mod follow;
mod goal;
mod held;
mod link;
mod matching;
mod merge;
pub mod oracle;
mod pieces6;
mod plan;
mod ports;
mod ranking;
mod regions;
mod rows;
mod shortage;
mod shortcuts6;
mod sizes;
mod slots;
mod squeeze;
mod state;
mod step;
mod transition;
mod trie4;
mod trie6;
mod work;
mod writer;

pub use answer::{Answer, Judgement, answer, entry};
pub use desired::{Desired, Inherited, Interface, Owner};
pub use plan::{Plan, Unrepresented};
pub use shortage::{Shortage, Table};
pub use state::State;
pub use step::Step;

#[cfg(test)]
mod tests;
