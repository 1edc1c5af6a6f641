//! The kernel's side of enforcement: everything that needs bpf(2).
//!
//! Belongs here: loading and attaching the programs, writing the tables, reading counters, flows
//! and drop events, and the pins that let enforcement outlive the agent. This is the only folder of
//! the agent with `unsafe` code. Does not belong here: the meaning of the tables
//! (`enforcer_core::tables`), the decision when to write them (`agent`), and the node's interfaces
//! and addresses (`node`).

mod allocator;
mod apply;
mod attachment;
mod cleanup;
mod clock;
mod clsact;
mod counter_reader;
mod error;
mod filters;
mod flow_sample;
mod flow_shares;
mod flow_table;
mod flows;
mod foreign;
mod grace;
mod hook_events;
mod hooks;
mod legacy_flows;
mod live_tables;
mod load;
mod mapped_array;
mod mapped_words;
mod origins;
mod orphans;
mod parts;
mod pinned_tables;
mod pins;
mod promotion;
mod reason;
mod reports;
mod resident;
mod retired_counters;
mod shared_tables;
mod sys;
mod table_shape;
mod table_sizes;
mod takeover;
mod tcx;
mod test_run;
mod traces;
mod traffic_control;
mod trial;
mod verification;

pub use allocator::share_one_arena;
pub use cleanup::{Removed, cleanup};
pub use clock::Lifetimes;
pub use counter_reader::CounterReader;
pub use error::KernelError;
pub use flow_sample::FlowSample;
pub use flows::{FlowTables, FlowUse, Imported};
pub use hook_events::HookEvents;
pub use hooks::{HookFault, Hooks, Place, Scope};
pub use live_tables::LiveTables;
pub use load::{Kernel, Settings};
pub use pins::{Pins, PinsError};
pub use reports::{DropReader, ProgramLog};
pub use resident::release_start_up_memory;
pub use retired_counters::SettledTable;
pub use sys::map_ids;
pub use table_sizes::TableSizes;
pub use test_run::{Run, RunInput, RunProgram, TestContext};
pub use traces::Trace;
pub use trial::{Trial, TrialSeed, Tried};
