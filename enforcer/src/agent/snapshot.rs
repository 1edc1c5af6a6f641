//! The immutable snapshot of the reconciler that observers read.

use std::collections::{BTreeMap, BTreeSet};

use crate::observe::Report;
use enforcer_core::model::PodId;

/// The enforced state. Never changed once it is published.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// All but the counters, which observers read from the kernel.
    pub(super) report: Report,
    /// The endpoint ids of the pods in `report.endpoints`, in this order.
    pub(super) ids: Vec<u32>,
    /// The ids that count for no pod.
    pub(super) podless: Vec<u32>,
    /// This node's pods by endpoint id.
    pub(super) names: BTreeMap<u32, PodId>,
    /// The endpoint ids of pods whose denied packets are answered.
    pub(super) rejecting: BTreeSet<u32>,
}
