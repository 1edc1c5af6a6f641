//! Naming what a look at the flow tables shows.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use enforcer_core::explain;
use enforcer_core::flows::{Sighting, View};
use enforcer_core::model::{Cluster, Policy, PolicyId};
use tokio::time::sleep;

use super::reconciler::Reconciler;
use super::seen_flows::{SeenFlows, now};
use super::shared::Shared;
use super::snapshot::Snapshot;
use crate::observe::protocol_name;

/// The longest time without a pause: a change of policy must not wait.
const SLICE: Duration = Duration::from_millis(2);
/// The pause.
const PAUSE: Duration = Duration::from_millis(6);

/// Takes what a look at the tables shows, in the reconciler's thread, with pauses.
pub(super) async fn take(
    reconciler: &RefCell<Reconciler>,
    shared: &Shared,
    (sightings, missed): (Vec<Sighting>, u64),
) {
    let (started_at, count) = (Instant::now(), sightings.len());
    let snapshot = shared.snapshot();
    let seen = shared.seen_flows();
    {
        let reconciler = reconciler.borrow();
        let isolating = isolating(&snapshot, &reconciler.cluster);
        seen.ledger().begin(reconciler.decisions, isolating.into_iter(), now());
        seen.set_node_addresses(&reconciler.cluster.node_addresses);
    }
    let mut left = sightings.into_iter().peekable();
    while left.peek().is_some() {
        slice(&reconciler.borrow(), seen, &snapshot, &mut left);
        if left.peek().is_some() {
            sleep(PAUSE).await;
        }
    }
    seen.ledger().end(missed);
    tracing::debug!(sightings = count, took = ?started_at.elapsed(), "looked at the flows");
}

fn slice(
    reconciler: &Reconciler,
    seen: &SeenFlows,
    snapshot: &Snapshot,
    left: &mut impl Iterator<Item = Sighting>,
) {
    let since = Instant::now();
    let cluster = &reconciler.cluster;
    let addresses = reconciler.addresses.read();
    let owners = |address: IpAddr| explain::owners_among(addresses.pods(&address, cluster));
    let view = View::new(cluster, &owners);
    let mut ledger = seen.ledger();
    for it in left {
        let pod = snapshot.names.get(&it.endpoint).and_then(|id| cluster.pods.get(id));
        if let Some(pod) = pod {
            let version = if it.local.is_ipv4() { 4 } else { 6 };
            ledger.take(&view, pod, &it, &protocol_name(version, it.protocol));
        }
        if since.elapsed() >= SLICE {
            return;
        }
    }
}

/// The policies that isolate pods of this node.
fn isolating<'a>(snapshot: &Snapshot, cluster: &'a Cluster) -> Vec<&'a Policy> {
    let pods = snapshot.report.protection.values();
    let names: BTreeSet<&String> =
        pods.flat_map(|it| it.ingress.iter().chain(&it.egress)).collect();
    let ids = names.into_iter().filter_map(|it| it.split_once('/'));
    ids.filter_map(|(namespace, name)| cluster.policies.get(&PolicyId::new(namespace, name)))
        .collect()
}
