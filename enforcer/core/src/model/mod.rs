//! The cluster as the domain sees it: pods, namespaces, policies, services.
//!
//! Plain data, free of Kubernetes types, I/O and clocks. Sources (manifests, the API server)
//! produce it, [`crate::policy`] reads it.

mod cluster;
mod pod;
mod policy;
mod sandbox;
mod selector;
mod service;
mod traffic;

pub use cluster::{Change, Cluster};
pub use pod::{ContainerPort, Namespace, Pod, PodId};
pub use policy::{Block, Peer, Policy, PolicyId, PortRange, PortRule, PortSpec, Protocol, Rule};
pub use sandbox::Sandbox;
pub use selector::{Labels, Requirement, Selector};
pub use service::{Distribution, Service, ServiceId, ServicePort, TargetPort, TrafficPolicy};
pub use traffic::Traffic;

/// The label that every namespace carries with its own name (semantics R3).
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";
