//! The kernel's side: loading, attaching, writing tables, reading counters and events.
//!
//! The only place of the agent that speaks BPF, and the only one with `unsafe`.

mod apply;
mod attachment;
mod cleanup;
mod clock;
mod clsact;
mod error;
mod flows;
mod hooks;
mod load;
mod mapped_array;
mod pinned_tables;
mod pins;
mod reports;
mod retired_counters;
mod sys;
mod table_shape;
mod takeover;
mod test_run;

pub use attachment::Trace;
pub use cleanup::{Removed, cleanup};
pub use clock::Lifetimes;
pub use error::KernelError;
pub use flows::{FlowTables, FlowUse, Room};
pub use hooks::{Hooks, Place};
pub use load::{Kernel, Settings};
pub use pins::{Pins, PinsError};
pub use reports::{DropReader, ProgramLog};
pub use retired_counters::SettledTable;
pub use test_run::{Run, RunInput, RunProgram};
