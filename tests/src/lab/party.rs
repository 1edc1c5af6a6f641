//! The parties that send and receive in the lab.

use std::fmt;

use enforcer_core::model::{Name, PodId, ServiceId};
use serde::{Serialize, Serializer};

/// A sender or receiver.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Party {
    /// A pod.
    Pod(PodId),
    /// The first node, in most labs the only one.
    Node,
    /// Another node, by its index, counted from 0 with the first.
    OtherNode(u8),
    /// An outside client, by name.
    Outside(String),
    /// A Service, only as a receiver.
    Service(Frontend),
}

/// A frontend of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frontend {
    /// The Service.
    pub service: ServiceId,
    /// The kind of its address.
    pub door: Door,
}

/// The kinds of a Service's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Door {
    /// The cluster address.
    Cluster,
    /// The address of the node with this index, at the node port.
    Node(u8),
    /// The load balancer's or an external address.
    External,
}

impl Party {
    /// The pod `name` of `namespace`.
    pub fn pod(namespace: impl Into<Name>, name: impl Into<Name>) -> Self {
        Self::Pod(PodId::new(namespace, name))
    }

    /// The node with this index.
    pub fn node(index: usize) -> Self {
        match u8::try_from(index).unwrap_or(u8::MAX) {
            0 => Self::Node,
            other => Self::OtherNode(other),
        }
    }

    /// The outside client `name`.
    pub fn outside(name: impl Into<String>) -> Self {
        Self::Outside(name.into())
    }

    /// The Service `name` of `namespace` by one of its addresses.
    pub fn service(namespace: impl Into<Name>, name: impl Into<Name>, door: Door) -> Self {
        let service = ServiceId { namespace: namespace.into(), name: name.into() };
        Self::Service(Frontend { service, door })
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(id) => write!(f, "{id}"),
            Self::Node => f.write_str("the node"),
            Self::OtherNode(index) => write!(f, "node {}", u16::from(*index) + 1),
            Self::Outside(name) => write!(f, "outside {name}"),
            Self::Service(Frontend { service, door }) => write!(f, "{service} at {door}"),
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("its cluster address"),
            Self::Node(0) => f.write_str("the node's port"),
            Self::Node(index) => write!(f, "node {}'s port", u16::from(*index) + 1),
            Self::External => f.write_str("its external address"),
        }
    }
}

impl Serialize for Party {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
