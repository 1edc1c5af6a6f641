//! What the tables shall say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::PodId;
use crate::policy::Compiled;

/// Who is behind an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A pod, judged by its policies.
    Pod(PodId),
    /// What this pod has left, or what still runs although the pod is said to be gone: closed, and
    /// nobody else's until somebody claims it (semantics C5).
    Gone(PodId),
    /// A pod that is not known yet (semantics C6).
    Unknown {
        /// Whether nothing but the link's and the node's own traffic passes until it is.
        closed: bool,
    },
}

impl Owner {
    /// The pod, if one is or was known.
    #[must_use]
    pub fn pod(&self) -> Option<&PodId> {
        match self {
            Self::Pod(pod) | Self::Gone(pod) => Some(pod),
            Self::Unknown { .. } => None,
        }
    }

    /// Whether flows and counters of `before` are those of the same pod: somebody who was unknown
    /// may have become known.
    #[must_use]
    pub fn continues(&self, before: &Self) -> bool {
        before.pod().is_none_or(|pod| self.pod() == Some(pod))
    }
}

/// What an earlier agent noted of an endpoint id (semantics C3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inherited {
    /// The endpoint id.
    pub id: u32,
    /// The interface.
    pub ifindex: u32,
    /// Who was behind it; `None`: nobody has the id, but what it counted may be left.
    pub owner: Option<Owner>,
    /// The pod's UID, if it had one.
    pub uid: String,
}

/// A pod's interface on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Who is behind it.
    pub owner: Owner,
    /// The pod's UID; empty if it is not known.
    pub uid: String,
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
