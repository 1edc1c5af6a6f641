//! Who can send and receive in the lab.

use std::fmt;

use enforcer::model::PodId;
use serde::{Serialize, Serializer};

/// A sender or receiver.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Party {
    /// A pod of the node.
    Pod(PodId),
    /// The node itself.
    Node,
    /// An outside client, by name.
    Outside(String),
}

impl Party {
    /// The pod `name` of `namespace`.
    pub fn pod(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self::Pod(PodId::new(namespace, name))
    }

    /// The outside client `name`.
    pub fn outside(name: impl Into<String>) -> Self {
        Self::Outside(name.into())
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(id) => write!(f, "{id}"),
            Self::Node => f.write_str("the node"),
            Self::Outside(name) => write!(f, "outside {name}"),
        }
    }
}

impl Serialize for Party {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
