//! A question about connections.

/// A question.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// The sender.
    pub from: String,
    /// The receiver, with a port or without.
    pub to: String,
    /// The namespace of names without one.
    pub namespace: String,
    /// Whether every rule is shown.
    pub all: bool,
}
