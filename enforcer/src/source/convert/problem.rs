//! Problems with fields of objects.

use std::fmt;

use crate::source::remark::Severity;

/// A problem with a field of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// The field, e.g. `spec.ingress[0].from[1].ipBlock.cidr`.
    pub path: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, with the bad value and what was expected.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Whether the API server tolerates it only in an object that has it already
    /// ([`Converted::as_new`](super::Converted::as_new)).
    pub only_old: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl Problem {
    /// An error: the object can't take effect.
    pub(super) fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        let (path, message) = (path.into(), message.into());
        Self { path, severity: Severity::Error, message, help: None, only_old: false }
    }

    /// A warning: the object takes effect, but probably not as meant.
    pub(super) fn warning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(path, message) }
    }

    /// A warning in an object of the API server, which refuses new objects with it.
    pub(super) fn only_old(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { only_old: true, ..Self::warning(path, message) }
    }

    /// Adds what to do about it.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
