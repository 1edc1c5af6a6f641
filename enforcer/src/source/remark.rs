//! Remarks on files and objects, for the log, for metrics and for Events.

use std::fmt;

use enforcer_core::model::PolicyId;
use serde::Serialize;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Notice,
    /// The object takes effect, but probably not as meant.
    Warning,
    /// The object can't take effect.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One remark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// How bad it is.
    pub severity: Severity,
    /// One sentence, with the place and what to do about it.
    pub text: String,
}

/// All current remarks on one file or object; they replace the earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remarks {
    /// The file, or kind, namespace and name of the object.
    pub about: String,
    /// The policy, if the object is one that the API server has.
    pub policy: Option<PolicyId>,
    /// The remarks.
    pub list: Vec<Remark>,
}
