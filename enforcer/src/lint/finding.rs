//! What lints find.

use super::yaml;
use crate::source::Severity;

/// A finding of a lint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The lint.
    pub lint: &'static str,
    /// Errors are mistakes that the API server refuses, too.
    pub severity: Severity,
    /// The index of the policy in [`Estate::subjects`](super::Estate::subjects).
    pub subject: usize,
    /// The field.
    pub path: String,
    /// Further fields whose errors it explains.
    pub covers: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// How to write it instead, as YAML.
    pub snippet: Option<String>,
}

impl Finding {
    pub(super) fn new(
        lint: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            lint,
            severity: Severity::Warning,
            subject: 0,
            path: path.into(),
            covers: Vec::new(),
            message: message.into(),
            snippet: None,
        }
    }

    pub(super) fn error(
        lint: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Error, ..Self::new(lint, path, message) }
    }

    pub(super) fn snippet(self, value: &serde_json::Value) -> Self {
        Self { snippet: Some(yaml::text(value)), ..self }
    }
}
