//! The goal of one stage of a plan.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_ebpf::contract::verdict::Direction;

use super::desired::{Desired, Interface, Owner};
use super::endpoints::Endpoints;
use super::shortage::Table;
use crate::model::PodId;
use crate::policy::RowId;

/// The goal of one stage of a plan: everything desired, except for rows that must be closed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal<'a> {
    pub(super) desired: &'a Desired,
    /// The rows that can't be represented. Directions that they judge are closed.
    pub(super) closed: &'a BTreeSet<RowId>,
}

/// Rows to close, each with the table that was too small for it.
pub(super) type Closed = BTreeMap<RowId, Table>;

/// How a direction of an interface is to be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wish {
    Open,
    Closed,
    Row(RowId),
}

/// How the directions of an owner's interface are to be judged; `of`: those of a pod.
pub(super) fn wishes(owner: &Owner, of: impl FnOnce(&PodId) -> [Wish; 2]) -> [Wish; 2] {
    match owner {
        Owner::Pod(pod) => of(pod),
        Owner::Unknown { closed: false } => [Wish::Open; 2],
        Owner::Unknown { closed: true } | Owner::Gone(_) => [Wish::Closed; 2],
    }
}

impl Goal<'_> {
    /// How the directions of an owner's interface are to be judged, by [`Direction`].
    pub(super) fn wishes(&self, owner: &Owner) -> [Wish; 2] {
        wishes(owner, |pod| {
            let policy = self.desired.compiled.pods.get(pod).copied().unwrap_or_default();
            [policy.ingress, policy.egress].map(|row| match row {
                None => Wish::Open,
                Some(row) if self.closed.contains(&row) => Wish::Closed,
                Some(row) => Wish::Row(row),
            })
        })
    }
}

/// The interfaces that fit into the table: first those that have a record, then by index.
pub(super) fn admitted<'a>(
    interfaces: &'a BTreeMap<u32, Interface>,
    endpoints: &Endpoints,
) -> BTreeMap<u32, &'a Interface> {
    let (old, new): (Vec<_>, Vec<_>) =
        interfaces.iter().partition(|(ifindex, _)| endpoints.get(**ifindex).is_some());
    // Interface 0 does not exist, and a slot can't name it.
    let new = new.into_iter().filter(|(ifindex, _)| **ifindex != 0);
    old.into_iter()
        .chain(new)
        .take(endpoints.room())
        .map(|(&ifindex, interface)| (ifindex, interface))
        .collect()
}

/// The directions of the interfaces' pods that rows judge.
pub(super) fn judged(desired: &Desired) -> impl Iterator<Item = (&PodId, Direction, RowId)> {
    let owners = desired.interfaces.values().map(|interface| &interface.owner);
    let pods = owners.filter_map(|it| if let Owner::Pod(pod) = it { Some(pod) } else { None });
    pods.flat_map(|pod| {
        let policy = desired.compiled.pods.get(pod).copied().unwrap_or_default();
        Direction::ALL.into_iter().filter_map(move |it| Some((pod, it, policy.row(it)?)))
    })
}

/// The directions that the closed rows close.
pub(super) fn closed_directions(
    desired: &Desired,
    closed: &BTreeSet<RowId>,
) -> BTreeSet<(PodId, Direction)> {
    judged(desired)
        .filter(|(_, _, row)| closed.contains(row))
        .map(|(pod, direction, _)| (pod.clone(), direction))
        .collect()
}
