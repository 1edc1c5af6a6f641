//! The kernel's side: loading, attaching, writing tables, reading counters and events.
//!
//! The only place of the agent that speaks BPF, and the only one with `unsafe`.

mod apply;
mod attach;
mod clock;
mod clsact;
mod error;
mod flows;
mod load;
mod mapped;
mod read;
mod run;

pub use attach::{Hooks, Place};
pub use clock::Lifetimes;
pub use error::KernelError;
pub use flows::{FlowTables, FlowUse, Room};
pub use load::{Kernel, Settings};
pub use read::{DropReader, ProgramLog};
pub use run::{Run, RunInput, RunProgram};
