//! What the policies in audit would change.

use std::net::IpAddr;

use enforcer_ebpf::contract::verdict::Direction;

use super::connection::{Why, isolating_in, why_among};
use crate::model::{Cluster, Pod, PodId, PolicyId, Traffic, View};

/// The decision if no policy were in audit, if it is the opposite of the present one, `why`. The other
/// arguments are those of [`why_among`].
///
/// Policies add up, so one that is enforced takes away only what nothing isolated before, and gives
/// only what another denied: most questions end before any rule is read.
#[must_use]
pub fn would_be(
    cluster: &Cluster,
    pod: &PodId,
    direction: Direction,
    peer: IpAddr,
    owners: Vec<&Pod>,
    traffic: Traffic,
    why: &Why,
) -> Option<Why> {
    if !matches!(why, Why::NotIsolated | Why::Denied { .. })
        || in_audit(cluster, pod, direction).next().is_none()
    {
        return None;
    }
    let would = why_among(cluster, View::WouldBe, pod, direction, peer, owners, traffic);
    (would.allows() != why.allows()).then_some(would)
}

/// The policies in audit that would isolate the pod in this direction.
pub fn in_audit<'a>(
    cluster: &'a Cluster,
    pod: &PodId,
    direction: Direction,
) -> impl Iterator<Item = &'a PolicyId> {
    let all = isolating_in(cluster, View::WouldBe, pod, direction);
    all.filter(|it| cluster.is_in_audit(it)).map(|it| &it.id)
}
