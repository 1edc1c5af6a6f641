//! What is told to the Kubernetes API, where that is wanted: Events on policies, and that this node
//! is ready. Nothing that is enforced depends on it, and nothing waits for it.

mod concern;
mod events;
mod taint;

pub use concern::{Concern, Reason, concerns};
pub use events::{EventCounts, Events};
pub use taint::remove_taint;
