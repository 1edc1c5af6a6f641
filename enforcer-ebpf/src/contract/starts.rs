//! Starts: when TCP connections began at an endpoint, for packets that need not look up their flow.

use bytemuck::{Pod, Zeroable};

/// from_pod writes it, to_pod reads it.
///
/// A segment to a pod normally leaves the flow tables alone: the pod's answer keeps its flow alive. Two
/// kinds of segments must not: the one that completes a handshake, since nothing may follow for hours,
/// and those of a connection whose flow is missing, since the pod's answers can't pass.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct Starts {
    /// When the pod last answered a SYN, in buckets of the coarse clock.
    pub answered: u32,
    /// When a segment of the pod was last dropped because its flow was not found, likewise.
    pub missed: u32,
}
