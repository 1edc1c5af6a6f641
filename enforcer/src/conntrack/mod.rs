//! The kernel's connection tracking as the source for the initiators of living connections
//! (semantics C8).
//!
//! The programs know the flows that they saw open. Of older ones, conntrack has seen the first
//! packet. An entry is no permission: it names the initiator, and a reply passes only while policy
//! allows the initiator to open the flow (semantics A3, C2).
//!
//! Belongs here: reading entries ([`read`]), and finding the flows of this node's pods in them
//! ([`Flows`]). Does not belong here: the flow tables (`kernel`), and the time to read (`agent`).

mod dump;
mod entry;
mod flow;

pub use dump::{ConntrackError, Counts, read};
pub use entry::{Doubt, Entry, Progress, Tuple};
pub use flow::{Flow, Flows};
