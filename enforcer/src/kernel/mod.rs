//! The kernel's side: loading, attaching, writing tables, reading counters and events.
//!
//! The only place of the agent that speaks BPF, and the only one with `unsafe`.

mod apply;
mod attach;
mod cleanup;
mod clock;
mod clsact;
mod error;
mod flows;
mod hold;
mod inherit;
mod kept;
mod load;
mod mapped;
mod pins;
mod read;
mod run;
mod shape;
mod sys;

pub use attach::{Hooks, Place};
pub use cleanup::{Removed, cleanup};
pub use clock::Lifetimes;
pub use error::KernelError;
pub use flows::{FlowTables, FlowUse, Room};
pub use hold::Trace;
pub use load::{Kernel, Settings};
pub use pins::{Pins, PinsError};
pub use read::{DropReader, ProgramLog};
pub use run::{Run, RunInput, RunProgram};
