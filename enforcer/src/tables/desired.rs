//! What the tables shall say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::PodId;
use crate::policy::Compiled;

/// A pod's interface on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The pod behind it.
    pub pod: PodId,
    /// The pod's addresses, for the source check (semantics P4).
    pub addresses: BTreeSet<IpAddr>,
    /// Whether packets from the pod must carry one of them.
    pub check_source: bool,
}

/// What the tables shall say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Desired {
    /// Verdicts.
    pub compiled: Compiled,
    /// Host-side interface index → pod. A pod that `compiled` does not know is not isolated.
    pub interfaces: BTreeMap<u32, Interface>,
}
