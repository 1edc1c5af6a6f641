//! The container runtime's CNI results, as far as they were taken.

use crate::cni::Results;

/// The results, and what they have shown.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) taken: Results,
    /// Whether a result has named an interface of this node: the runtime of this node writes them.
    pub(super) proven: bool,
    /// Whether unknown pods were denied when it was last logged.
    pub(super) logged: Option<bool>,
}
