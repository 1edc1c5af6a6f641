//! The cluster as plain data: pods, namespaces, policies, services.
//!
//! Sources (manifests, the API server, the container runtime) produce it, [`crate::policy`] reads
//! it.
//!
//! What belongs here: objects with their defaults applied, and questions about one object or the
//! cluster's state that need no policy. What does not: Kubernetes types and parsing (they are in
//! the agent's `source` module), the evaluation of policies, I/O, clocks.

mod cluster;
mod id;
mod labels;
mod name;
mod pod;
mod policy;
mod pool;
mod sandbox;
mod selector;
mod service;
mod shared_set;
mod traffic;
mod uid;

pub use cluster::{Change, Cluster, View};
pub use id::{PodId, PolicyId, ServiceId};
pub use labels::Labels;
pub use name::Name;
pub use pod::{
    ContainerPort, DENY_WITH_ANNOTATION, DenyWith, NAMESPACE_NAME_LABEL, Namespace, Pod,
};
pub use policy::{
    AUDIT_ANNOTATION, Block, Peer, Policy, PortRange, PortRule, PortSpec, Protocol, Rule,
};
pub use pool::Pool;
pub use sandbox::{Sandbox, same_uid};
pub use selector::{Requirement, Selector};
pub use service::{Distribution, Service, ServicePort, TargetPort, TrafficPolicy};
pub use shared_set::SharedSet;
pub use traffic::Traffic;
pub use uid::Uid;
