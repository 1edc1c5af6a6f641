//! Naming what a look at the flow tables shows, and denied attempts.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use enforcer_core::explain;
use enforcer_core::flows::{Decision, Denial, FlowEnd, Ledger, Miss, Sighting, View, WouldBe};
use enforcer_core::model::{Change, Cluster, Policy, PolicyId};
use enforcer_ebpf::contract::verdict::Direction;
use tokio::time::sleep;

use super::reconciler::Reconciler;
use super::shared::Shared;
use super::snapshot::Snapshot;
use crate::observe::{DropRecord, Flows, protocol_name};

/// The longest time without a pause: a change of policy must not wait.
const SLICE: Duration = Duration::from_millis(2);
/// The pause.
const PAUSE: Duration = Duration::from_millis(6);

/// What was seen, shared with observers.
#[derive(Debug)]
pub(super) struct SeenFlows {
    node: String,
    ledger: Mutex<Ledger>,
    /// The node's own addresses, as of the last look.
    node_addresses: Mutex<BTreeSet<IpAddr>>,
}

impl SeenFlows {
    pub(super) fn new(node: &str) -> Self {
        let ledger = Ledger::new(now()).into();
        Self { node: node.to_owned(), ledger, node_addresses: Mutex::default() }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen after a revision.
    pub(super) fn document(&self, after: u64) -> Flows {
        Flows::new(&self.node, &self.ledger(), after)
    }

    /// The name of the node.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// Takes an attempt that policy denied; other drops are no flows.
    pub(super) fn denied(&self, record: &DropRecord) {
        let denial = {
            let own = self.node_addresses.lock().unwrap_or_else(PoisonError::into_inner);
            denial(record, &own)
        };
        if let Some(denial) = denial {
            self.ledger().denied(denial, now());
        }
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs())
}

/// Whether flows may need another explanation after a change.
pub(super) fn alters_decisions(change: &Change, cluster: &Cluster) -> bool {
    match change {
        Change::Policy(_)
        | Change::PolicyGone(_)
        | Change::Namespace(_)
        | Change::NamespaceGone(_) => true,
        Change::Pod(pod) => cluster
            .pods
            .get(&pod.id)
            .is_some_and(|known| (&known.labels, &known.ports) != (&pod.labels, &pod.ports)),
        Change::PodGone(_) | Change::Service(_) | Change::ServiceGone(_) => false,
    }
}

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
        let own = &reconciler.cluster.node_addresses;
        seen.node_addresses.lock().unwrap_or_else(PoisonError::into_inner).clone_from(own);
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

/// The flow of a dropped packet; `None`: no policy dropped it.
fn denial(record: &DropRecord, node_addresses: &BTreeSet<IpAddr>) -> Option<Denial> {
    if !matches!(record.reason.as_str(), "denied" | "unrepresented") {
        return None;
    }
    let attribution = &record.attribution;
    let end = |end: &crate::observe::End, workload: &Option<String>| match workload
        .as_ref()
        .or(end.pod.as_ref())
    {
        Some(name) => FlowEnd::Workload(name.clone()),
        None if node_addresses.contains(&end.address) => FlowEnd::Node,
        None => FlowEnd::Address(end.address),
    };
    let (source, destination) = (record.source.as_ref()?, record.destination.as_ref()?);
    let source = record.sender.as_ref().unwrap_or(source);
    let direction = Direction::ALL.into_iter().find(|it| it.name() == record.direction)?;
    let nearest = attribution.nearest.as_ref().map(|it| Miss {
        policy: it.policy.clone(),
        path: it.path.clone(),
        differences: it.differences.clone(),
    });
    let isolated_by = attribution.isolated_by.clone();
    let audit = (!attribution.would_allow.is_empty()).then(|| WouldBe {
        policies: attribution.would_allow.clone(),
        allows: true,
        by: Vec::new(),
        nearest: None,
    });
    Some(Denial {
        from: end(source, &attribution.from_workload),
        to: end(destination, &attribution.to_workload),
        protocol: record.protocol.clone(),
        port: destination.port,
        decision: Decision {
            direction,
            reason: "no-rule",
            isolated_by,
            by: Vec::new(),
            nearest,
            audit,
        },
    })
}
