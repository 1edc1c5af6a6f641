//! The policies behind a drop, as data.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The rule that would allow a dropped packet after the fewest changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nearest {
    /// The policy as `namespace/name`.
    pub policy: String,
    /// The field, such as `spec.ingress[1].from[0].podSelector`.
    pub path: String,
    /// What keeps it from allowing the packet; all of it has to change.
    pub differences: Vec<String>,
}

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, path, differences } = self;
        write!(f, "nearest: {policy} {path}: {}", differences.join(", "))
    }
}

/// The workloads at both ends of a dropped packet, and the policies behind the drop, as of the time
/// when the agent read the event.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attribution {
    /// The sender's workload, as `namespace/name (kind)`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from_workload: Option<String>,
    /// The receiver's workload, likewise.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to_workload: Option<String>,
    /// The policies that isolate the pod in this direction.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub isolated_by: Vec<String>,
    /// The nearest rule, if one could allow the packet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nearest: Option<Nearest>,
    /// The policies in audit whose rules would allow the packet, if all policies were enforced.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub would_allow: Vec<String>,
}
