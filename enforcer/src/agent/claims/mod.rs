//! The pods of interfaces, over time.
//!
//! [`crate::node::assign`] matches pods and interfaces by address. This folder remembers earlier
//! matches: it holds back a pod's claim to a new interface ([`PodClaims`], semantics C5), and keeps the
//! last pod of each interface ([`LastPods`], semantics C5 and C6). The match itself, and the tables
//! that follow from it, do not belong here.

mod last_pods;
mod pod_claims;
mod veth_peer;

pub(super) use last_pods::{LastPods, podless};
pub(super) use pod_claims::PodClaims;

/// Data that the tests of both files share.
#[cfg(test)]
mod fixture;
