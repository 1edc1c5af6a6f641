//! Counters of packets and bytes, by endpoint, direction and reason, and of flows.

use bytemuck::{Pod, Zeroable};

/// The number of reasons that there is room for.
pub const REASONS: usize = 24;

/// The id that counts packets of no endpoint; ids of endpoints begin at 1.
pub const NOBODY: u32 = 0;

/// One counter.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes, the link-layer header included.
    pub bytes: u64,
}

/// All counters of one endpoint: `[direction][reason]`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct Counters {
    /// By [`super::verdict::Direction`], then by [`super::verdict::Reason`].
    pub counts: [[Count; REASONS]; 2],
}

impl Counters {
    /// The sums.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        let pairs = self.counts.as_flattened_mut().iter_mut().zip(other.counts.as_flattened());
        for (Count { packets, bytes }, more) in pairs {
            *packets += more.packets;
            *bytes += more.bytes;
        }
        self
    }
}

/// A CPU's counters of a family's flows.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct FlowCounts {
    /// Flows that were displaced while they were not established.
    pub displaced: u64,
    /// Established flows that were displaced because their pod had more than its share.
    pub reduced: u64,
    /// New flows that found no place.
    pub refused: u64,
}
