//! The kernel's connection tracking, as far as it tells who initiated a living connection
//! (semantics C8).
//!
//! The programs know the flows that they saw open. Of older ones, conntrack has seen the first
//! packet. What an entry says is no permission: it names the initiator, and a reply passes only while
//! policy allows the initiator to open the flow (semantics A3, C2).
//!
//! Belongs here: reading entries ([`read`]), and which flows of this node's pods they stand for
//! ([`Flows`]). Does not belong here: the flow tables (`kernel`), and when to read (`agent`).

mod dump;
mod entry;
mod flow;

pub use dump::{ConntrackError, Counts, read};
pub use entry::{Doubt, Entry, Progress, Tuple};
pub use flow::{Flow, Flows};
