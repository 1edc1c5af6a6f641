//! Answers to denied packets, so that a client fails at once instead of waiting.
//!
//! The packet path only drops and reports. The agent builds each answer from the report, and sends it in
//! the name of the packet's destination. Belongs here: which reports get an answer, its bytes, the limits,
//! the sockets. Does not belong here: for which pods answers are wanted; the agent's snapshot knows.

mod answer;
mod limits;
mod sockets;

pub use answer::{Answer, answer};
pub use limits::Limits;
pub use sockets::Sockets;
