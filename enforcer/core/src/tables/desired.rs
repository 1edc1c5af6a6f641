//! The desired contents of the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::PodId;
use crate::policy::Compiled;

/// The owner of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A pod; its policies decide.
    Pod(PodId),
    /// The last pod of the interface, which was deleted or is reported as deleted. The interface is
    /// closed until another pod claims it (semantics C5).
    Gone(PodId),
    /// An unknown pod (semantics C6).
    Unknown {
        /// Whether only link messages and the node's own traffic pass until the pod is known.
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

    /// Whether flows and counters of `before` belong to the same pod. An unknown pod may have become
    /// known.
    #[must_use]
    pub fn continues(&self, before: &Self) -> bool {
        before.pod().is_none_or(|pod| self.pod() == Some(pod))
    }
}

/// The record of an endpoint id by an earlier agent (semantics C3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inherited {
    /// The endpoint id.
    pub id: u32,
    /// The interface.
    pub ifindex: u32,
    /// The interface's owner; `None`: the id is not assigned, but its counters may be left.
    pub owner: Option<Owner>,
    /// The pod's UID; empty if unknown.
    pub uid: String,
    /// The interface's identity beyond its index; 0 if unknown.
    pub identity: u32,
}

/// A pod's interface on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The owner.
    pub owner: Owner,
    /// The pod's UID; empty if unknown.
    pub uid: String,
    /// The interface's identity beyond its index, for the next agent; 0 if unknown.
    pub identity: u32,
    /// The pod's addresses, for the source check (semantics P4).
    pub addresses: BTreeSet<IpAddr>,
    /// Whether packets from the pod must have one of these as their source.
    pub check_source: bool,
}

/// The desired contents of the tables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Desired {
    /// The verdicts.
    pub compiled: Compiled,
    /// Host-side interface index → interface. A pod that `compiled` does not have is not isolated.
    pub interfaces: BTreeMap<u32, Interface>,
}
