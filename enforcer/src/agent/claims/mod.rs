//! Which pod an interface belongs to, beyond what one look at the node shows (semantics C5, C6).

mod last_pods;
mod pod_claims;

pub use last_pods::UnknownPod;
pub(super) use last_pods::{LastPods, podless};
pub(super) use pod_claims::PodClaims;
