//! What every source sends to the agent's loop.

use std::time::Instant;

use super::remark::Remarks;
use enforcer_core::model::Change;

/// The news of a source since its last update.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// Changes to the cluster; apply them in this order.
    pub changes: Vec<Change>,
    /// New remarks.
    pub remarks: Vec<Remarks>,
    /// Whether the source has shown everything at least once, this update included. Before that
    /// nothing may be enforced (semantics C4).
    pub complete: bool,
    /// Whether one of the changes may be of this node's pods. If not, all are of pods elsewhere.
    pub concerns_node: bool,
    /// When the first event of this update arrived; `None` if unknown.
    pub received_at: Option<Instant>,
}
