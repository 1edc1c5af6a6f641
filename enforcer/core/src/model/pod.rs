//! Pods and namespaces.

use std::net::IpAddr;

use super::id::PodId;
use super::labels::Labels;
use super::name::Name;
use super::policy::Protocol;
use super::shared_set::SharedSet;
use super::uid::Uid;

/// The label that every namespace carries with its own name (semantics R3).
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The annotation of a namespace that sets what a sender gets for a packet that the policies of its pods deny.
pub const DENY_WITH_ANNOTATION: &str = "enforcer.io/deny-with";

/// What a sender gets for a packet that policy denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DenyWith {
    /// Nothing.
    #[default]
    Drop,
    /// A TCP reset, or an ICMP error: administratively prohibited (RFC 1812, section 5.2.7.1; RFC 4443,
    /// section 3.1).
    Reject,
}

impl DenyWith {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Drop, Self::Reject];

    /// The word for it in annotations and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Reject => "reject",
        }
    }
}

/// A container port. Ports of sidecars count, those of plain init containers do not (semantics R7).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerPort {
    /// `ports[].name`; empty if it has none. Policies can't refer to a port without a name.
    pub name: String,
    /// `ports[].protocol`
    pub protocol: Protocol,
    /// `ports[].containerPort`
    pub port: u16,
}

/// A pod, as far as policy depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub id: PodId,
    /// `metadata.uid`; empty where the source has none.
    pub uid: Uid,
    /// `metadata.labels`
    pub labels: Labels,
    /// `spec.nodeName`; `None` while the pod is not assigned to a node.
    pub node: Option<Name>,
    /// `status.podIPs`
    pub addresses: SharedSet<IpAddr>,
    /// `spec.hostNetwork`: never a subject, never matched by selectors (semantics S1, R4).
    pub host_network: bool,
    /// `status.phase` is `Succeeded` or `Failed` (semantics S1, R4).
    pub finished: bool,
    /// Whether the pod is being deleted (`metadata.deletionTimestamp`). Until it is finished or
    /// deleted it is a subject and a peer like any other (semantics S1), but it is assigned no
    /// further interface (semantics C5).
    pub terminating: bool,
    /// Container ports.
    pub ports: SharedSet<ContainerPort>,
}

impl Pod {
    /// Whether the pod can be a peer: it uses the pod network and is not finished (semantics S1,
    /// R4).
    #[must_use]
    pub fn is_peer(&self) -> bool {
        !self.host_network && !self.finished
    }

    /// A pod of the pod network that is neither finished nor terminating; all else is empty.
    #[must_use]
    pub fn new(id: PodId) -> Self {
        Self {
            id,
            uid: Uid::default(),
            labels: Labels::new(),
            node: None,
            addresses: SharedSet::new(),
            host_network: false,
            finished: false,
            terminating: false,
            ports: SharedSet::new(),
        }
    }
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// `metadata.name`
    pub name: String,
    /// `metadata.labels`, including [`NAMESPACE_NAME_LABEL`] (semantics R3).
    pub labels: Labels,
    /// All policies of the namespace are in audit ([`super::AUDIT_ANNOTATION`]).
    pub audit: bool,
    /// What packets get that policies of the namespace deny ([`DENY_WITH_ANNOTATION`]); `None`: the agent's
    /// default.
    pub deny_with: Option<DenyWith>,
}

impl Namespace {
    /// The namespace with these labels and [`NAMESPACE_NAME_LABEL`].
    pub fn new(name: impl Into<String>, mut labels: Labels) -> Self {
        let name = name.into();
        labels.insert(NAMESPACE_NAME_LABEL, &name);
        Self { name, labels, audit: false, deny_with: None }
    }
}
