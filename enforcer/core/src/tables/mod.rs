//! The kernel tables as the agent plans them, purely: desired contents, difference, ordered plan.
//!
//! [`State`] is what the kernel holds, as far as the agent knows; [`State::plan`] answers a new
//! [`Desired`] with the [`Step`]s that lead there, make before break (design: "Making changes"),
//! and is then the state after them. [`Image`] is a kernel made of vectors: it takes the same
//! steps, and answers look-ups with the code that the programs run.
//!
//! The order of a plan and the proof of C1: `transition`; the choice of class ids: `classes`; of
//! rows: `matching`; what fails closed when a table is too small: `squeeze`. `trie4`, `trie6`,
//! `ports`, `rows`, `endpoints` and `slots` each know one table's shape and keep a copy of what
//! the kernel has in it; `alloc` knows when an index may be used again.

mod alloc;
mod change;
mod classes;
mod columns;
mod desired;
mod endpoints;
mod goal;
mod matching;
mod merge;
pub mod oracle;
mod pieces6;
mod plan;
mod ports;
mod regions;
mod rows;
mod shortage;
mod sizes;
mod slots;
mod squeeze;
mod state;
mod step;
mod transition;
mod trie4;
mod trie6;
mod writer;

pub use desired::{Desired, Inherited, Interface, Owner};
pub use plan::{Plan, Unrepresented};
pub use shortage::{Shortage, Table};
pub use state::State;
pub use step::Step;

#[cfg(test)]
mod tests;
