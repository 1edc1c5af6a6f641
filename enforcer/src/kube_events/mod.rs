//! Kubernetes Events on policies, if the agent is to create them.
//!
//! Belongs here: which policies need an Event ([`findings`], pure), and how Events are created
//! ([`Events`]). Nothing that is enforced depends on them, and nothing waits for them. Reading from
//! the API server is in [`crate::source`], the node's taint in [`crate::taint`].

mod events;
mod finding;

pub use events::{EventCounts, Events};
pub use finding::{Finding, Reason, findings};
