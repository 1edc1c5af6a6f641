//! Pods and namespaces.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use super::{Labels, Protocol};

/// A pod's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodId {
    /// `metadata.namespace`
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
}

impl PodId {
    /// The pod `name` of `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A container port; sidecars' ports count, plain init containers' do not (semantics R7).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerPort {
    /// `ports[].name`; empty if it has none: no policy can name it then.
    pub name: String,
    /// `ports[].protocol`
    pub protocol: Protocol,
    /// `ports[].containerPort`
    pub port: u16,
}

/// What policy needs to know of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub id: PodId,
    /// `metadata.uid`; empty where the source has none.
    pub uid: String,
    /// `metadata.labels`
    pub labels: Labels,
    /// `spec.nodeName`; `None` where it is not (yet) assigned.
    pub node: Option<String>,
    /// `status.podIPs`
    pub addresses: BTreeSet<IpAddr>,
    /// `spec.hostNetwork`: never a subject, never matched by selectors (semantics S1, R4).
    pub host_network: bool,
    /// `status.phase` is `Succeeded` or `Failed` (semantics S1, R4).
    pub finished: bool,
    /// Whether it is being deleted (`metadata.deletionTimestamp`). Until it is finished or gone it
    /// is policed and a peer like any other (semantics S1), but it begins nothing new: it gets no
    /// further interface (semantics C5).
    pub terminating: bool,
    /// Container ports.
    pub ports: BTreeSet<ContainerPort>,
}

impl Pod {
    /// Whether policy applies to the pod as a peer: it has the pod network and is not finished
    /// (semantics S1, R4).
    #[must_use]
    pub fn is_peer(&self) -> bool {
        !self.host_network && !self.finished
    }
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// `metadata.name`
    pub name: String,
    /// `metadata.labels`, `kubernetes.io/metadata.name` included (semantics R3).
    pub labels: Labels,
}

impl Namespace {
    /// A namespace with these labels and the one that names it.
    pub fn new(name: impl Into<String>, mut labels: Labels) -> Self {
        let name = name.into();
        labels.insert(super::NAMESPACE_NAME_LABEL.to_owned(), name.clone());
        Self { name, labels }
    }
}
