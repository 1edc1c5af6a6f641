//! Kubernetes Events on policies, where they are wanted. Nothing that is enforced depends on them,
//! and nothing waits for them.

mod events;
mod finding;

pub use events::{EventCounts, Events};
pub use finding::{Finding, Reason, findings};
