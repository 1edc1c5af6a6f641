//! Observed flows: who talks to whom, by workload, and which rules they use.
//!
//! ```text
//! Sighting (a pod's flows in the kernel's tables) ─► attribute ─► decide ─► Ledger: records, uses
//! Denial   (a drop event)  ─────────────────────────────────────────────────►┘
//! ```
//! Belongs here: names for the ends of flows, the bounded store of what was seen. Does not belong here:
//! reading the tables, documents, clocks: times are seconds since 1970 that the caller gives.

mod attribute;
mod decision;
mod ledger;
mod record;
mod sighting;
mod uses;

pub use attribute::View;
pub use decision::{Decision, Miss, WouldBe};
pub use ledger::{Denial, Ledger, RECORDS};
pub use record::{FlowEnd, Key, Record, Verdict};
pub use sighting::Sighting;
pub use uses::{RuleUse, UseKey};

#[cfg(test)]
mod tests;
