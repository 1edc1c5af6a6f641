//! Answers about policies for people and scripts: `explain`, `describe`, `diff`.
//!
//! ```text
//! files, git, API server ─► state ─► ends ─► answer (plain data) ─► text, JSON, YAML
//! ```
//! Belongs here: reading a state once, names of ends, the documents' formats. Does not belong here:
//! the answers themselves, which are [`enforcer_core::explain`]'s.

mod addresses;
mod answer;
mod ask;
mod describe;
mod diff;
mod document;
mod end;
mod git;
mod overview;
mod pairs;
mod part;
mod policy_text;
mod question;
mod remove;
mod state;
mod suggest;
mod text;
mod trace;

pub use addresses::DEFAULT_POD_CIDR;
pub use answer::{Answer, EndAnswer, Explanation, Place, Word};
pub use ask::{Each, ask, ask_each};
pub use describe::{Description, Subject, describe};
pub use diff::{DiffDocument, compare};
pub use document::{Output, SCHEMA_VERSION, document};
pub use end::{End, EndError};
pub use git::GitError;
pub use overview::{Overview, overview};
pub use pairs::{Pair, Site, Target, Through};
pub use part::part;
pub use policy_text::policy_text;
pub use question::Question;
pub(crate) use state::first_few;
pub use state::{Side, State, StateError, StateOptions};
pub use suggest::{Basis, Suggested, allowing, suggested};
pub use trace::{KernelEnd, Trace, TraceStep, TracedConnection};
